"""Programs from Maven repositories, by the user's own Maven and its settings."""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from deploy.local.failures import LocalError

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_NAMESPACE = "http://maven.apache.org/POM/4.0.0"
_TAIL = 15


def copy_jars(artifacts: Sequence[str], folder: Path) -> None:
    """Puts the artifacts (``group:artifact:version``) with all that they need into ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        pom = Path(scratch) / "pom.xml"
        pom.write_bytes(_pom(artifacts))
        _maven(
            f"{_PLUGIN}:copy-dependencies",
            f"-f={pom}",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder}",
        )


def copy_file(artifact: str, folder: Path) -> Path:
    """Puts one artifact (``group:artifact:version:type``) in ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        _maven(
            f"{_PLUGIN}:copy",
            f"-Dartifact={artifact}",
            f"-DoutputDirectory={folder}",
            cwd=Path(scratch),
        )
    (found,) = folder.iterdir()
    return found


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks the content of the archive's single folder into ``folder``, with its modes."""
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            target = Path(packed.extract(entry, folder))
            mode = entry.external_attr >> 16 & 0o777
            target.chmod(mode or (0o755 if entry.is_dir() else 0o644))
    (inner,) = folder.iterdir()
    for path in list(inner.iterdir()):
        path.rename(folder / path.name)
    inner.rmdir()


def _maven(goal: str, *options: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        ["mvn", "-q", "-B", "-ntp", goal, *options],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL:])
        raise LocalError(f"Maven could not fetch what is needed:\n{tail}")


def _pom(artifacts: Sequence[str]) -> bytes:
    project = ElementTree.Element("project", xmlns=_NAMESPACE)
    for tag, text in (
        ("modelVersion", "4.0.0"),
        ("groupId", "local"),
        ("artifactId", "servers"),
        ("version", "1"),
        ("packaging", "pom"),
    ):
        ElementTree.SubElement(project, tag).text = text
    dependencies = ElementTree.SubElement(project, "dependencies")
    for artifact in artifacts:
        dependency = ElementTree.SubElement(dependencies, "dependency")
        for tag, text in zip(
            ("groupId", "artifactId", "version"), artifact.split(":"), strict=True
        ):
            ElementTree.SubElement(dependency, tag).text = text
    return ElementTree.tostring(project)
