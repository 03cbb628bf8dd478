"""The core works without its extras."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast


def test_core_imports_no_torch():
    code = "import idse, idse.cli, sys; idse.cli.build_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_native_libraries_load_and_refuse_another_abi():
    from idse import kernels, native
    from idse.errors import LibraryLoadError

    native.load("idse_kernels", kernels._ABI)
    with pytest.raises(LibraryLoadError, match=r"ABI \d+, this package expects 99"):
        native.load("idse_kernels", 99)
