"""The recipes of `deploy/`, as far as they can be read without what runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmir.commands import sweep_command
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def ray_job() -> tuple[Any, Any]:
    """The sweep file, as it is handed to pods, and the job."""
    space, job = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    return space, job


def image_lines() -> list[str]:
    """The instructions of the Dockerfile, without comments, one a line."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def pinned(package: str) -> str:
    (version,) = re.findall(
        rf"^{package}==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    return str(version)


def test_the_image_copies_what_exists_and_installs_extras_that_exist() -> None:
    copied = [shlex.split(line)[1:-1] for line in image_lines() if line.startswith("COPY ")]
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", "\n".join(image_lines()))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_image_has_what_its_own_installation_reads() -> None:
    lines = image_lines()
    installed = next(place for place, line in enumerate(lines) if "'.[" in line)
    before = " ".join(line for line in lines[:installed] if line.startswith("COPY "))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "cmir", "search_spaces"):
        assert name in before.split()


def test_compose_builds_an_image_that_exists_and_waits_for_servers_that_it_has() -> None:
    services = compose()["services"]
    build = services["tracking"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    assert set(services["tracking"]["depends_on"]) <= set(services)


def test_compose_tells_mlflow_only_options_that_it_has() -> None:
    cli = pytest.importorskip("mlflow.cli")
    program, command, *words = compose()["services"]["tracking"]["command"]
    assert (program, command) == ("mlflow", "server")
    context = cli.server.make_context("server", words)
    assert context.params["artifacts_destination"] == "s3://mlflow"


def test_the_ray_job_asks_for_the_ray_of_the_project() -> None:
    _, job = ray_job()
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == pinned("ray")


def test_the_ray_job_s_command_is_one_of_ours_and_its_sweep_file_fits() -> None:
    space, job = ray_job()
    program, name, *words = shlex.split(job["spec"]["entrypoint"])
    assert (program, name) == ("cmir", "sweep")
    given = sweep_command._parse(words)
    assert given.storage.startswith("postgresql+psycopg://")
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (mount,) = head["containers"][0]["volumeMounts"]
    (volume,) = head["volumes"]
    assert volume["configMap"]["name"] == space["metadata"]["name"]
    file = Path(given.space)
    assert (str(file.parent), mount["name"]) == (mount["mountPath"], volume["name"])
    text = space["data"][file.name]
    assert checked_space(parse_sweep(yaml.safe_load(text), file.name), file.name)


def test_all_containers_of_the_ray_job_have_the_same_image_and_settings() -> None:
    cluster = ray_job()[1]["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    assert {one["image"] for one in containers} == {compose()["services"]["tracking"]["image"]}
    assert all(one["env"] == containers[0]["env"] for one in containers)
    assert all(one["envFrom"] == containers[0]["envFrom"] for one in containers)


def test_the_slurm_job_is_a_script_whose_example_is_a_command_of_ours() -> None:
    script = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    (example,) = re.findall(r"sbatch deploy/slurm.sh (.*)", script.read_text())
    name, *words = shlex.split(example)
    assert name == "sweep"
    assert (ROOT / sweep_command._parse(words).space).is_file()


def test_the_health_settings_are_those_of_the_documentation() -> None:
    told = dict(re.findall(r"(RAY_health_check_\w+)=(\d+)", (ROOT / "docs/cluster.md").read_text()))
    script = dict(re.findall(r"(RAY_health_check_\w+)=(\d+)", (DEPLOY / "slurm.sh").read_text()))
    head = ray_job()[1]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    pods = {e["name"]: e["value"] for e in head["containers"][0]["env"] if "health" in e["name"]}
    assert len(told) == 4
    assert script == pods == told
