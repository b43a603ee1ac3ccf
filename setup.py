"""The C extension; everything else about the package is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = sorted(str(path) for path in Path("node_runtime/ringline/shm/csrc").glob("*.c"))

setup(
    ext_modules=[
        Extension(
            "ringline.shm._core",
            sources=SOURCES,
            depends=sorted(str(path) for path in Path("node_runtime/ringline/shm/csrc").glob("*.h")),
            py_limited_api=True,
            define_macros=[("Py_LIMITED_API", "0x030B0000"), ("_GNU_SOURCE", "1")],
            extra_compile_args=[
                "-std=c11",
                "-O3",
                "-Wall",
                "-Wextra",
                "-fvisibility=hidden",
                "-fstack-protector-strong",
                "-D_FORTIFY_SOURCE=2",
            ],
            extra_link_args=["-Wl,-z,relro,-z,now,-z,noexecstack"],
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
