"""What builds of images take from this machine, and what their bills of materials have; no image is built."""

import configparser
import json
from pathlib import Path

import pytest

from infra.images import build
from infra.images.bill import make_bill
from infra.images.buildah import Buildah
from infra.images.pip_configuration import translate
from tests.end_to_end import image_flow

PYTHON = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "components": [{"type": "library", "name": "ray", "version": "2.60.0", "purl": "pkg:pypi/ray@2.60.0"}],
}


def read(text: str) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_places_of_pip_become_places_of_the_build(tmp_path):
    certificate, wheels, index = tmp_path / "ca.crt", tmp_path / "wheels", tmp_path / "index" / "simple"
    for folder in (wheels, index):
        folder.mkdir(parents=True)
    certificate.touch()
    listed = {
        ":env:.find-links": str(wheels),
        "global.cert": str(certificate),
        "global.extra-index-url": f"https://example.org/simple {index.as_uri()}",
        "global.find-links": "/nowhere",
        "install.find-links": str(wheels),
        "install.timeout": "60",
    }
    text, places = translate("\n".join(f"{name}={value!r}" for name, value in listed.items()))
    assert places == {"/run/pip/0": certificate, "/run/pip/1": index.parent, "/run/pip/2": wheels}
    assert read(text) == {
        "global": {
            "cert": "/run/pip/0",
            "extra-index-url": "https://example.org/simple\nfile:///run/pip/1/simple",
            "find-links": "/run/pip/2",  # the environment counts before files
        },
        "install": {"find-links": "/run/pip/2", "timeout": "60"},
    }
    assert str(tmp_path) not in text


def test_pip_without_configuration_needs_nothing():
    assert translate("") == ("[global]\n\n", {})


def test_bill_has_what_pip_and_debian_installed():
    bill = json.loads(make_bill("worker", json.dumps(PYTHON), "libc6 2.36-9+deb12u14 amd64\npython3 3.11.2-1 amd64"))
    assert bill["metadata"]["component"] == {"bom-ref": "worker", "name": "worker", "type": "container"}
    (root,) = (each for each in bill["dependencies"] if each["ref"] == "worker")
    assert len(root["dependsOn"]) == 3
    assert {each["name"]: each["purl"] for each in bill["components"]} == {
        "libc6": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64",
        "python3": "pkg:deb/debian/python3@3.11.2-1?arch=amd64",
        "ray": "pkg:pypi/ray@2.60.0",
    }


def test_image_that_does_not_exist_is_named(capsys):
    assert build.main(["scheduler"]) == 2
    assert capsys.readouterr().err == "error: there is no image 'scheduler'; there are worker, airflow\n"


@pytest.mark.parametrize(("base", "needs"), [([], "buildah and mmdebstrap"), (["--base", "debian"], "buildah")])
def test_missing_programs_are_named(monkeypatch, capsys, base, needs):
    monkeypatch.setenv("PATH", "/nowhere")
    assert build.main(["airflow", *base]) == 2
    assert capsys.readouterr().err.startswith(f"error: images need {needs}; on Debian: apt install buildah")


def test_another_user_than_root_is_refused(monkeypatch, capsys, tmp_path):
    for name in ("buildah", "mmdebstrap"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.os, "geteuid", lambda: 1000)
    assert build.main([]) == 2
    assert capsys.readouterr().err == "error: images are built by root, and this is the user 1000\n"


def test_size_is_that_of_the_image_with_the_tag(monkeypatch):
    listed = [{"names": None, "size": "9 MB"}, {"names": ["localhost/one:cpu"], "size": "484 MB"}]
    monkeypatch.setattr(Buildah, "__call__", lambda self, *arguments: json.dumps(listed))
    assert (Buildah().size_of("one:cpu"), Buildah().size_of("one:cuda")) == ("484 MB", None)


def test_failed_command_is_reported_with_the_end_of_its_output(tmp_path, monkeypatch):
    program = tmp_path / "buildah"
    program.write_text("#!/bin/sh\nseq 1 100\necho no space left >&2\nexit 125\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    log = tmp_path / "worker.log"
    with pytest.raises(
        build.ServiceError, match=r"`buildah bud \.` failed with exit code 125:\n82\n(.|\n)*no space left"
    ):
        Buildah()("bud", ".", log=log)
    assert len(log.read_text().splitlines()) == 101
    assert Buildah(Path("/store")).command("images")[2:] == [
        *("buildah", "--root", "/store/root", "--runroot", "/store/run", "images")
    ]


def test_flow_through_the_images_refuses_a_network_that_others_share(monkeypatch, tmp_path):
    """It ends every process of its network."""
    monkeypatch.setattr(image_flow.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    with pytest.raises(SystemExit, match="unshare --net"):
        image_flow.main(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []
