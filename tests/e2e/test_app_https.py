"""The guide for a TLS proxy, with a real nginx."""

from __future__ import annotations

import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path

import httpx

from tests.conftest import PROJECT, need_program
from tests.servers.certificates import Authority
from tests.servers.ports import free_port, wait_for_port
from tests.support.app import App, running_app

HOST = "cameras.example.com"


@contextmanager
def running_nginx(app: App, folder: Path) -> Iterator[httpx.Client]:
    """The guide's configuration, with this test's ports and certificate; yields a client that trusts it."""
    program = need_program("nginx", "nginx-light")
    authority = Authority(folder)
    issued = authority.issue(HOST)
    port = free_port()
    [text] = re.findall(r"```nginx\n(.*?)```", (PROJECT / "docs/https.md").read_text(), re.DOTALL)
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        (f"/etc/letsencrypt/live/{HOST}/fullchain.pem", str(issued.certificate)),
        (f"/etc/letsencrypt/live/{HOST}/privkey.pem", str(issued.key)),
        ("http://127.0.0.1:8000", str(app.client.base_url).rstrip("/")),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"user root; daemon off; pid {folder}/pid; error_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ access_log off;\n{temporary}{text}}}\n"
    )
    with subprocess.Popen([program, "-c", str(configuration), "-e", str(folder / "error.log")]) as nginx:
        try:
            wait_for_port(port)
            time.sleep(0.1)
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}",
                verify=ssl.create_default_context(cafile=authority.certificate),
                headers={"Host": HOST},
                timeout=30,
            ) as client:
                yield client
        finally:
            nginx.terminate()
            nginx.wait(30)


def test_a_tls_proxy_as_in_the_guide(tmp_path: Path, values: dict[str, str]) -> None:
    right = {"username": "admin", "password": values["ADMIN_PASSWORD"]}
    with running_app(values, tmp_path) as app, running_nginx(app, tmp_path) as proxy:
        app.wait_until(lambda: "account is ready" in app.log())
        cookie = SimpleCookie(proxy.post("/login", json=right).headers["set-cookie"])["session"]
        assert not cookie["secure"]  # the proxy was not named
        [line] = [line for line in app.log().splitlines() if "X-Forwarded" in line]
        [setting] = re.findall(r"APP_TRUSTED_PROXIES=\S+", line)
        assert line.split("cctv: ")[1] in (PROJECT / "docs/https.md").read_text().replace("172.18.0.1", "127.0.0.1")
    name, _, value = setting.partition("=")
    with running_app(values | {name: value}, tmp_path) as app, running_nginx(app, tmp_path) as proxy:
        app.wait_until(lambda: "account is ready" in app.log())
        forged = {"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "http"}
        answer = proxy.post("/login", json=right, headers=forged)
        assert SimpleCookie(answer.headers["set-cookie"])["session"]["secure"]
        me = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert proxy.get("/me", headers=me).json()["last_login_address"] == "127.0.0.1"
        proxy.cookies.clear()
        assert proxy.get("/ready").json() == {"status": "ready"}
        assert "checks" in proxy.get("/ready", headers=me).json()
        assert proxy.post("/webhook", content=b"x" * (1024 * 1024)).status_code == 401
