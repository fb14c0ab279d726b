"""What is said of a machine beside figures."""

import subprocess

import pytest

from fetfast import __version__, environment


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.delenv("FETFAST_COMMIT", raising=False)
    (tmp_path / "fetfast").mkdir()
    (tmp_path / "fetfast" / "a.py").touch()
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_of_a_checkout(checkout):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout
    assert len(environment.commit()) >= 7 and head.startswith(environment.commit())
    (checkout / "README.md").write_text("changed, and no code")
    assert head.startswith(environment.commit())
    (checkout / "fetfast" / "a.py").write_text("changed")
    assert environment.commit().endswith("-dirty")


def test_the_commit_where_git_does_not_say(checkout, monkeypatch):
    (checkout / ".git" / "HEAD").write_text("nothing")
    assert environment.commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert environment.commit() == "unknown"
    monkeypatch.setenv("FETFAST_COMMIT", "abc1234")
    assert environment.commit() == "abc1234"


def test_the_commit_of_an_installed_package_is_its_release(tmp_path, monkeypatch):
    monkeypatch.delenv("FETFAST_COMMIT", raising=False)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert environment.commit() == __version__


def test_versions_of_what_is_here_and_what_is_not(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(environment.backends, "declared", lambda what: {"PACKAGES": ["openvino"]}[what])
    found = environment.versions()
    assert found.keys() == {"numpy", "no-such-package", "openvino"} and found["no-such-package"] is None
    assert found["numpy"] == __import__("numpy").__version__ and found["openvino"]
    about = environment.machine()
    assert set(about["versions"]) == {"python", "numpy", "openvino"} and about["threads"] <= about["cores"]
    assert about["class"] == f"cpu-{about['threads']}" or about["class"] in about["device"].lower()


@pytest.mark.parametrize(
    "name, short",
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA GeForce RTX 4090", "4090"), ("NVIDIA A100-SXM4-40GB", "a100")],
)
def test_a_class_is_the_gpus_short_name(name, short):
    assert environment.short(name) == short
