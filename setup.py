"""Build the CPU engine: a shared library that ctypes loads, so a wheel depends on the platform but on no Python."""

from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError

NATIVE = "forecasting/fleet/native"


class BuildEngine(build_ext):
    """Names the library `_engine.so`, without the tag of a Python's ABI, and never links it to Python's own library."""

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def get_libraries(self, ext: Extension) -> list[str]:
        return list(ext.libraries)


class EngineWheel(bdist_wheel):
    """Tags the wheel `py3-none-<platform>` and refuses to build one without the engine.

    An editable install does not run this command, so it succeeds without a compiler.
    """

    def run(self) -> None:
        for extension in self.distribution.ext_modules:
            extension.optional = False
        try:
            super().run()
        except CCompilerError as error:
            raise SystemExit(f"error: a wheel needs the CPU engine, which a C compiler builds: {error}") from error

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            "forecasting.fleet.native._engine",
            sources=[f"{NATIVE}/fleet.c"],
            depends=sorted(glob(f"{NATIVE}/*.h")),
            extra_compile_args=[
                "-O3",
                "-g0",
                "-std=gnu11",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-Wno-psabi",
                "-pthread",
            ],
            extra_link_args=["-pthread"],
            libraries=["m"],
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildEngine, "bdist_wheel": EngineWheel},
)
