"""Commands as a person types them: what they print where they succeed, and their one line where they must fail."""

import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app, main


def ran(*arguments):
    """What the command printed, on one line."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return " ".join(result.output.split())


def refused(capsys, *arguments):
    """What it said on standard error, on one line; its status was 2."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 2
    return " ".join(capsys.readouterr().err.split())
