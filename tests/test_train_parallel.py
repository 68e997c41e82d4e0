"""Two processes that share gradients, and part."""

from __future__ import annotations

from pathlib import Path

from tests.two_processes import run_in_two

SCRIPT = """
from pathlib import Path

import torch

from tools.training import parallel

rank = parallel.join()
weight = torch.nn.Parameter(torch.zeros(3))
optimizer = torch.optim.AdamW([weight])  # imports what may hold the group
(weight.sum() * (1 + 2 * rank)).backward()
parallel.average_gradients([weight])
threads = lambda: [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
together = threads()
parallel.leave()
Path(f"rank{rank}.txt").write_text(f"{weight.grad.tolist()}\\n{together}\\n{threads()}")
"""


def test_gradients_are_averaged_and_no_thread_outlives_the_group(tmp_path: Path) -> None:
    script = tmp_path / "part.py"
    script.write_text(SCRIPT)
    run_in_two(script, cwd=tmp_path)
    for rank in range(2):
        gradient, together, alone = (tmp_path / f"rank{rank}.txt").read_text().splitlines()
        assert gradient == "[2.0, 2.0, 2.0]"
        assert "gloo" in together
        assert "gloo" not in alone
