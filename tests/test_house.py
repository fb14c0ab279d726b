"""The house keeps its shape: imports point only downwards, and `import fetfast` is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]
FLOORS = {
    "kernels": 0, "csrc": 0, "_native": 0,
    "ops": 1, "spec": 1, "errors": 1, "locks": 1, "image": 1, "assets": 1, "files": 1, "video": 1,
    "models": 2, "onnx_graph": 2, "plan": 2, "build": 2, "quantize": 2,
    "backends": 3,
    "engine": 4, "inputs": 4, "place": 4, "step": 4, "cudagraph": 4, "face": 4, "environment": 4, "profiling": 4,
    "synth": 5, "train": 5, "evaluate": 5,
    "cli": 6, "live": 6, "bench": 6, "batch": 6, "web": 6, "export": 6, "tune": 6,
}  # fmt: skip
HEAVY = ("torch", "triton", "tensorrt", "openvino", "onnx", "cv2", "ray", "numba", "PIL", "numpy")
FILES = sorted([*ROOT.glob("fetfast/**/*.py"), *ROOT.glob("kernels/*.py")])


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "kernels" if parts[0] == "kernels" else parts[1]


def imported(path: Path) -> set[str]:
    """The rooms of fetfast that a file imports, inside functions too; not what is only there for type checkers."""
    rooms = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            rooms.update(a.name.split(".")[1] for a in node.names if a.name.startswith("fetfast."))
        if isinstance(node, ast.ImportFrom) and node.level:
            rooms.add(room(path))
        elif isinstance(node, ast.ImportFrom) and node.module == "fetfast":
            rooms.update(a.name for a in node.names if not a.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fetfast."):
            rooms.add(str(node.module).split(".")[1])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    if room(path) == "__init__":
        return
    here = FLOORS[room(path)]
    above = {r for r in imported(path) if FLOORS[r] > here}
    assert not above, f"floor {here} imports {above} from above"
    if here == 0:
        assert not imported(path) - {"kernels"}
    if room(path) == "train":
        assert not imported(path) & {"engine", "backends"}


def test_no_file_is_longer_than_a_head() -> None:
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 450}
    assert not long


def test_import_is_light() -> None:
    code = "import sys, fetfast; print(*[m for m in sys.argv[1:] if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_training_pairs_are_made_without_torch() -> None:
    pytest.importorskip("numba")
    code = """import sys
from fetfast.synth import basis, portrait_dataset, rendered_dataset, teeth, video_dataset
print(*[m for m in ("torch", "openvino", "onnx") if m in sys.modules])"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_nothing_unsafe_is_called() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert call not in ("pickle.load", "pickle.loads", "eval", "exec"), path
            if call == "torch.load":
                assert keywords.get("weights_only") == "True", path
            if call == "np.load":
                assert keywords.get("allow_pickle") == "False", path


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_the_faults_can_still_be_put_in(fault: Fault) -> None:
    """`make faults` puts them in; here only that their places are still there, and the tests that notice them."""
    assert fault.right in (ROOT / fault.file).read_text() and fault.right != fault.wrong
    file, _, name = fault.test.split()[0].partition("::")
    assert name in (ROOT / file).read_text()
