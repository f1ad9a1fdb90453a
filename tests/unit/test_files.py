"""Files as they are written: their permissions."""

import os

from ddpm_bench.files import replacing, replacing_folder


def test_the_umask_is_learnt_without_setting_it(tmp_path):
    """os.umask reads it by setting another, with which other threads make files meanwhile."""
    usual, changes = tmp_path / "usual", []
    usual.touch()
    wrapped = os.umask
    os.umask = lambda mask: changes.append(mask) or wrapped(mask)
    try:
        with replacing(tmp_path / "file") as path:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        with replacing_folder(tmp_path / "folder") as path:
            os.close(os.open(path / "file", os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask = wrapped
    assert changes == []
    for made in ("file", "folder/file"):
        assert (tmp_path / made).stat().st_mode == usual.stat().st_mode
