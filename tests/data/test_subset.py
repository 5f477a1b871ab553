"""Where rows are written to."""

from pathlib import Path

import pytest

from tuiwb.base.errors import UsageFault
from tuiwb.data.subset import write_lines


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_no_file_to_write(force: bool, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="this is a folder; name a file in it"):
        write_lines(tmp_path, iter([b"{}"]), [], force=force)
