{{- define "ringline.fullname" -}}
{{- $name := default .Release.Name .Values.fullnameOverride -}}
{{- if contains "ringline" $name -}}{{ $name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-ringline" $name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "ringline.operator" -}}
{{ include "ringline.fullname" . }}-operator
{{- end -}}

{{- define "ringline.account" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "ringline.operator" .) .Values.serviceAccount.name }}{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{- /* The policies of session pods let in whoever has this name: it is not the chart's to choose. */ -}}
{{- define "ringline.selector" -}}
app.kubernetes.io/name: ringline-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ringline.labels" -}}
{{ include "ringline.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ringline
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ringline.image" -}}
{{- $image := index . 0 -}}{{- $chart := index . 1 -}}
{{- if $image.digest -}}{{ $image.repository }}@{{ $image.digest }}{{- else -}}{{ $image.repository }}:{{ default $chart.AppVersion $image.tag }}{{- end -}}
{{- end -}}

{{- /* The watched namespaces as a JSON object {names: […]}; empty = the whole cluster. */ -}}
{{- define "ringline.namespaces" -}}
{{- if .Values.watch.cluster -}}{{ dict "names" list | toJson }}{{- else -}}{{ dict "names" (default (list .Release.Namespace) .Values.watch.namespaces) | toJson }}{{- end -}}
{{- end -}}
