"""Build the two Grafana dashboards: ``python charts/ringline/dashboards/build.py`` writes the JSON beside this file.

The builder (the dependency group `dashboards`) is typed, so that a misspelt option is found here and not by Grafana. A test
compares the JSON with what this would write, and each query with what the exporters say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

FOLDER: Final = Path(__file__).parent
SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
POOL: Final = 'namespace=~"$namespace", pipeline=~"$pipeline"'
ONE: Final = 'namespace=~"$namespace", session=~"$session"'
WIDTH, HALF, THIRD = 24, 12, 8


class Query(NamedTuple):
    """A PromQL expression and how its series are called."""

    expression: str
    legend: str


def figure(title: str, unit: str, expression: str, text: str) -> stat.Panel:
    """Return one number."""
    target = prometheus.Dataquery().ref_id("A").expr(expression).instant()
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(4)
        .no_value("0")
        .with_target(target)
    )


def graph(
    title: str, unit: str, queries: Sequence[Query], text: str, *, span: int = HALF, stacked: bool = False
) -> timeseries.Panel:
    """Return lines over time, stacked areas when their sum means something."""
    table = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel = timeseries.Panel().title(title).description(text).unit(unit).datasource(SOURCE).height(8).span(span).min(0)
    panel = (
        panel.legend(table)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .draw_style(GraphDrawStyle.LINE)
    )
    if stacked:
        panel = panel.fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for name, query in zip("ABCDEF", queries, strict=False):
        panel = panel.with_target(
            prometheus.Dataquery().ref_id(name).expr(query.expression).legend_format(query.legend)
        )
    return panel


def quantiles(metric: str, matchers: str, by: str = "") -> list[Query]:
    """Return median and 99th percentile of a histogram, for each value of the label `by` if there is one."""
    labels, legend = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    rate = f"sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval]))"
    return [Query(f"histogram_quantile({q}, {rate})", f"{legend}p{round(q * 100)}") for q in (0.5, 0.99)]


def choice(name: str, metric: str, *, several: bool, matchers: str = "") -> dashboard.QueryVariable:
    """Return a variable with the values that a label has."""
    variable = (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(f"label_values({metric}{{{matchers}}}, {name})")
    )
    variable = variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    if several:
        everything = VariableOption(selected=True, text="All", value="$__all")
        return variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


def page(title: str, uid: str, text: str) -> dashboard.Dashboard:
    """Return an empty dashboard with the choice of a data source, and a link to the other one."""
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    link = dashboard.DashboardLink("Ringline").tags(["ringline"]).as_dropdown(True).keep_time(True).include_vars(True)
    page = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["ringline"])
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    return page.tooltip(DashboardCursorSync.CROSSHAIR).editable().link(link).with_variable(source)


def fleet() -> dashboard.Dashboard:
    """Show every pipeline: whether there are enough sessions, how they end, how the operator does."""
    built = page(
        "Ringline / Fleet", "ringline-fleet", "All pipelines: sessions, what is free, what failed, and the operator."
    )
    built = built.with_variable(choice("namespace", "ringline_operator_sessions", several=True))
    built = built.with_variable(
        choice("pipeline", "ringline_operator_sessions", several=True, matchers='namespace=~"$namespace"')
    )
    # Operators that wait for the lease say the same as the one that acts: hence the maximum.
    each = "max by (namespace, pipeline{more}) ({metric}{{{matchers}}})"
    phases = each.format(more=", phase", metric="ringline_operator_sessions", matchers=POOL)
    free = each.format(more="", metric="ringline_operator_sessions_unclaimed", matchers=POOL)
    wanted = each.format(more="", metric="ringline_operator_sessions_wanted", matchers=POOL)
    running = each.format(more="", metric="ringline_operator_sessions", matchers=f'{POOL}, phase="Running"')
    failed = each.format(more="", metric="ringline_operator_sessions", matchers=f'{POOL}, phase="Failed"')
    figures = [
        figure("Running", "short", f"sum({running})", "Sessions that carry media, or wait for it."),
        figure("Free", "short", f"sum({free})", "Ready sessions that a claim can take at once."),
        figure("Failed", "short", f"sum({failed})", "Sessions whose attempts are used up."),
        figure("Pipelines", "short", f"count({wanted})", "Pipelines that the operator knows."),
        figure(
            "Arena", "bytes", 'sum(ringline_arena_bytes{namespace=~"$namespace"})', "Shared memory of all sessions."
        ),
        figure("Leader", "short", "sum(ringline_operator_leader)", "Operators that hold the lease: one."),
    ]
    channels = 'namespace=~"$namespace"'
    built = built.with_row(dashboard.Row("Sessions"))
    for number in figures:
        built = built.with_panel(number)
    for panel in (
        graph("Sessions by phase", "short", [Query(f"sum by (phase) ({phases})", "{{phase}}")], "Where sessions are in their lives.", stacked=True),
        graph(
            "Free and wanted", "short", [Query(f"sum({free})", "free"), Query(f"sum({wanted})", "wanted")],
            "Free below wanted for long: sessions do not come up, or calls come faster than pods.",
        ),
        graph(
            "Creation to ready", "s", quantiles("ringline_operator_session_ready_seconds", "", "claimed"),
            "claimed=true: a call; claimed=false: a session that is kept ready.",
        ),
        graph("Latency through a session", "s", quantiles("ringline_session_latency_seconds", channels), "From a message's entry to its exit, all sessions."),
    ):  # fmt: skip
        built = built.with_panel(panel)
    return operator_rows(trouble_rows(built, channels))


def trouble_rows(built: dashboard.Dashboard, where: str) -> dashboard.Dashboard:
    """Add what goes wrong in sessions."""
    rate = "sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"
    exits = rate.format(by="reason", metric="ringline_node_exits_total", where=where)
    unhealthy = rate.format(by="reason", metric="ringline_node_health_failures_total", where=where)
    dropped = rate.format(by="reason", metric="ringline_channel_dropped_messages_total", where=where)
    built = built.with_row(dashboard.Row("Trouble"))
    for panel in (
        graph("Ends of nodes", "ops", [Query(exits, "{{reason}}")], "Completed is the ordinary end.", span=THIRD),
        graph(
            "Failed health checks", "ops", [Query(unhealthy, "{{reason}}")], "Nodes that did not answer.", span=THIRD
        ),
        graph(
            "Lost messages",
            "ops",
            [Query(dropped, "{{reason}}")],
            "overwritten and flushed are policies at work.",
            span=THIRD,
        ),
    ):
        built = built.with_panel(panel)
    return built


def operator_rows(built: dashboard.Dashboard) -> dashboard.Dashboard:
    """Add the operator itself."""
    asked = Query(
        "sum by (method) (rate(ringline_operator_api_requests_total[$__rate_interval]))",
        "{{method}}",
    )
    unwritten = Query("sum(rate(ringline_operator_events_dropped_total[$__rate_interval]))", "dropped Events")
    looks = Query("sum(rate(ringline_operator_reconcile_seconds_count[$__rate_interval]))", "looks")
    depth = Query("max(ringline_operator_queue_depth and on (instance) ringline_operator_leader == 1)", "waiting")
    built = built.with_row(dashboard.Row("Operator"))
    for panel in (
        graph(
            "Decision to deed",
            "s",
            quantiles("ringline_operator_act_seconds", "", "urgent"),
            "urgent=true: what a call waits for; others wait in a burst.",
        ),
        graph(
            "One look at a pipeline",
            "s",
            quantiles("ringline_operator_reconcile_seconds", ""),
            "Observe and decide; what is decided is carried out behind it.",
        ),
        graph(
            "Requests",
            "reqps",
            [asked, unwritten],
            "To the API server, by method; the watches are not counted. Dropped: Events that were too many.",
        ),
        graph("Looks", "ops", [looks], "Idle sessions cause none but the periodic ones."),
        graph("Queue", "short", [depth], "Pipelines that wait for the leader."),
    ):
        built = built.with_panel(panel)
    return built


def session() -> dashboard.Dashboard:
    """Show one session with its nodes and its channels, to find the slow one."""
    built = page(
        "Ringline / Session", "ringline-session", "One session: where its messages are, who is slow, what is lost."
    )
    built = built.with_variable(choice("namespace", "ringline_session_state", several=False))
    built = built.with_variable(
        choice("session", "ringline_session_state", several=False, matchers='namespace=~"$namespace"')
    )
    built = built.with_row(dashboard.Row("Session"))
    for number in (
        figure("Processes", "short", f"sum(ringline_session_processes{{{ONE}}})", "Living nodes."),
        figure("Nodes", "short", f"count(ringline_node_up{{{ONE}}})", "Nodes of the graph."),
        figure("Restarts", "short", f"sum(ringline_node_restarts_total{{{ONE}}})", "Of nodes, inside this session."),
        figure(
            "Exits",
            "short",
            f"sum(ringline_node_exits_total{{{ONE}}})",
            "Ends of node processes, ordered ones included.",
        ),
        figure(
            "Memory",
            "bytes",
            f"sum(ringline_node_memory_bytes{{{ONE}}})",
            "Of all nodes; shared pages are divided among them.",
        ),
        figure("Arena", "bytes", f"sum(ringline_arena_bytes{{{ONE}}})", "Shared memory."),
    ):
        built = built.with_panel(number)
    for panel in (
        graph(
            "Latency through the session",
            "s",
            quantiles("ringline_session_latency_seconds", ONE),
            "From a message's entry to its exit.",
        ),
        graph("Time of one process()", "s", quantiles("ringline_node_latency_seconds", ONE, "node"), "By node."),
    ):
        built = built.with_panel(panel)
    return channel_rows(node_rows(built))


def node_rows(built: dashboard.Dashboard) -> dashboard.Dashboard:
    """Add the nodes."""
    cpu = f"rate(ringline_node_cpu_seconds_total{{{ONE}}}[$__rate_interval])"
    heap = f"ringline_node_heap_used_bytes{{{ONE}}} / (ringline_node_heap_bytes{{{ONE}}} > 0)"
    failures = f"increase(ringline_node_health_failures_total{{{ONE}}}[$__rate_interval])"
    own = f"rate(ringline_node_custom_total{{{ONE}}}[$__rate_interval])"
    built = built.with_row(dashboard.Row("Nodes"))
    for panel in (
        graph("Processor", "percentunit", [Query(cpu, "{{node}}")], "1 is a whole core.", span=THIRD),
        graph(
            "Memory",
            "bytes",
            [Query(f"ringline_node_memory_bytes{{{ONE}}}", "{{node}}")],
            "Proportional set size.",
            span=THIRD,
        ),
        graph("Heap in use", "percentunit", [Query(heap, "{{node}}")], "A full heap makes its owner wait.", span=THIRD),
        graph(
            "Busy with one message",
            "s",
            [Query(f"ringline_node_busy_seconds{{{ONE}}}", "{{node}}")],
            "What stays up hangs.",
        ),
        graph("Failed health checks", "short", [Query(failures, "{{node}} {{reason}}")], "Two in a row end the node."),
        graph(
            "Counters of the nodes' own",
            "ops",
            [Query(own, "{{node}} {{name}}")],
            "What authors count by self.metrics.",
        ),
        graph(
            "Gauges of the nodes' own",
            "short",
            [Query(f"ringline_node_custom_value{{{ONE}}}", "{{node}} {{name}}")],
            "What authors set by self.metrics.",
        ),
    ):
        built = built.with_panel(panel)
    return built


def channel_rows(built: dashboard.Dashboard) -> dashboard.Dashboard:
    """Add the channels: the reader of one that is full, whose writer is blocked, is the slow node."""
    rate = "rate({metric}{{{where}}}[$__rate_interval])"
    full = f"ringline_channel_depth_messages{{{ONE}}} / ringline_channel_capacity_messages{{{ONE}}}"
    dropped = (
        f"sum by (channel, reason) ({rate.format(metric='ringline_channel_dropped_messages_total', where=ONE)}) > 0"
    )
    rates = (
        ("Messages", "ops", "ringline_channel_messages_total", "Put into the channel, each second."),
        ("Bytes", "Bps", "ringline_channel_bytes_total", "Payload, each second."),
        (
            "Writer waits",
            "percentunit",
            "ringline_channel_blocked_seconds_total",
            "Part of the time in which there was no room.",
        ),
        ("Wake-ups", "ops", "ringline_channel_wakeups_total", "System calls; a busy reader needs none."),
        ("Copies", "ops", "ringline_channel_copies_total", "Payloads that were not contiguous."),
    )
    built = built.with_row(dashboard.Row("Channels"))
    built = built.with_panel(
        graph("Fill", "percentunit", [Query(full, "{{channel}}")], "Queued messages, of those that fit.", span=THIRD)
    )
    for title, unit, metric, text in rates:
        query = Query(rate.format(metric=metric, where=ONE), "{{channel}}")
        built = built.with_panel(graph(title, unit, [query], text, span=THIRD))
    lost = Query(dropped, "{{channel}} {{reason}}")
    return built.with_panel(graph("Lost messages", "ops", [lost], "By channel and reason.", span=WIDTH))


def document(built: dashboard.Dashboard) -> str:
    """Return a dashboard as JSON, without what the builder adds to every variable though only intervals have it."""
    content = json.loads(json.dumps(built.build(), cls=JSONEncoder))
    for variable in content["templating"]["list"]:
        for key in [key for key in variable if key.startswith("auto")]:
            del variable[key]
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def documents() -> dict[str, str]:
    """Return both dashboards as JSON texts by file name."""
    return {"fleet.json": document(fleet()), "session.json": document(session())}


if __name__ == "__main__":
    for name, text in documents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
