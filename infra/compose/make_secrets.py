"""Make the secrets of the compose file, once; what exists stays. Nothing is printed but paths.

    python3 infra/compose/make_secrets.py

They lie in `secrets/` beside this file, which git ignores. Only its owner can open that folder. The files in it are
readable by all, because the users of the containers that they are mounted into are not the owner.
"""

import base64
import json
import secrets
import sys
from pathlib import Path

HERE = Path(__file__).parent


def make_secrets(folder: Path) -> list[Path]:
    """Write the secrets that a folder lacks.

    Args:
        folder: The folder, which need not exist.

    Returns:
        The files that are new.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    (folder / "connections").mkdir(exist_ok=True)
    key, secret, database = secrets.token_hex(10), secrets.token_urlsafe(30), secrets.token_urlsafe(30)
    identity = {
        "name": "fleetcast",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    together = {  # each of these has a secret that another one has too
        "postgres_password": database,
        "airflow_database": f"postgresql+psycopg2://airflow:{database}@postgres/airflow",
        "s3_identities.json": json.dumps({"identities": [identity]}),
        "store.env": f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n",
    }
    alone = {
        "airflow_passwords.json": json.dumps({"admin": secrets.token_urlsafe(18)}),
        "grafana_password": secrets.token_urlsafe(18),
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt_secret": secrets.token_urlsafe(48),
        "api_secret_key": secrets.token_urlsafe(48),
        "ray_token": secrets.token_hex(32),
    }
    present = [name for name in together if (folder / name).exists()]
    if present and len(present) < len(together):
        missing = ", ".join(sorted(set(together) - set(present)))
        raise SystemExit(f"error: {folder} has {', '.join(present)} but not {missing}, which belong together")
    written = []
    for name, text in {**together, **alone}.items():
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
            written.append(path)
    (folder / "connections").chmod(0o755)
    return written


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "secrets"
    print("\n".join(f"wrote {path}" for path in make_secrets(folder)) or "all secrets exist")
