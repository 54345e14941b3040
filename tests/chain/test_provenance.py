"""What a result was made by."""

import socket

from facemae_jax.chain import provenance


def test_commit_says_whether_files_differ(monkeypatch, tmp_path):
    assert provenance.code_commit() != ""
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)  # no checkout
    assert provenance.code_commit() == "unknown"


def test_hardware_names_devices_and_no_host():
    told = provenance.hardware()
    assert told["platform"] == "cpu" and told["devices"] == 8
    assert socket.gethostname() not in str(told)


def test_versions_are_those_of_what_is_installed():
    import numpy

    assert provenance.versions()["numpy"] == numpy.__version__
