"""Pages of other origins, opened by a user who is signed in: they can neither change nor read anything."""

from __future__ import annotations

import pytest
import requests

from tests.browser.range_server import Content
from tests.browser.visits import SONG, row
from tests.support.service import AUTH

ATTACK = """async ([service, task, username, password]) => {
  const form = new FormData();
  form.append("audio", new File([new Uint8Array(100)], "attack.wav"));
  const text = { "Content-Type": "text/plain" };
  const json = { "Content-Type": "application/json" };
  const song = JSON.stringify({ audio: "https://one.invalid/attack.mp3" });
  const tried = {
    upload: ["generate", { method: "POST", body: form }],
    url: ["generate", { method: "POST", body: song, headers: json }],
    simple: ["generate", { method: "POST", body: song, headers: text, mode: "no-cors" }],
    silent: ["generate", { method: "POST", body: form, mode: "no-cors" }],
    signIn: ["session", { method: "POST", mode: "no-cors", body: new URLSearchParams({ username, password }) }],
    signOut: ["session", { method: "DELETE" }],
    cancel: [`tasks/${task}/cancel`, { method: "POST", mode: "no-cors" }],
    remove: [`tasks/${task}`, { method: "DELETE" }],
    prioritize: [`tasks/${task}`, { method: "PATCH", body: '{"priority": 5}', headers: json }],
    tasks: ["tasks", {}],
    task: [`tasks/${task}`, {}],
    session: ["session", {}],
    stem: [`tasks/${task}/stems/vocals`, { mode: "no-cors" }],
  };
  const outcomes = {};
  for (const [name, [path, options]] of Object.entries(tried)) {
    const asked = fetch(`${service}/${path}`, { credentials: "include", ...options });
    outcomes[name] = await asked.then(({ type }) => type, () => "failed");
  }
  const followed = new EventSource(`${service}/events`, { withCredentials: true });
  outcomes.events = await new Promise((resolve) => {
    followed.onerror = () => resolve("failed");
    followed.onopen = () => resolve("open");
  });
  followed.close();
  return outcomes;
}"""
UNCHANGED = ("status", "priority", "finished_at", "attempt")
FRAME = "(src) => document.body.append(Object.assign(document.createElement('iframe'), { src }))"
FORM = """([service, path, fields]) => {
  const form = document.createElement("form");
  form.method = "POST";
  form.action = `${service}/${path}`;
  form.enctype = "multipart/form-data";
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    form.append(Object.assign(input, { name, value }));
  }
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture
def evil(server):
    server.files["/evil.html"] = Content.of(b"<!doctype html><link rel=icon href=data:,><title>Win a prize</title>")


@pytest.mark.usefixtures("evil")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same site, other port", "other site"])
def test_another_site_changes_nothing_and_reads_nothing(visit, service, server, complaints, host):
    name = f"kept from {host}.wav"
    task_uuid = service.send(SONG, name)
    before = service.wait_for(task_uuid)
    page = visit(refusals=True)
    evil = page.context.new_page()
    evil.goto(f"http://{host}:{server.server_port}/evil.html")
    answers = []
    evil.on("response", lambda answer: answers.append((answer.status, answer.request.method, answer.url)))
    outcomes = evil.evaluate(ATTACK, [service.url, task_uuid, *AUTH])
    assert set(outcomes.values()) <= {"failed", "opaque"}, "no answer can be read"
    assert len(answers) >= 5, "what needs no leave of the service has reached it"
    assert {status for status, _, url in answers if url != f"{service.url}/session"} <= {401, 403}, answers
    forms = [("generate", {"audio": "x"}), ("session", {"username": "a"}), (f"tasks/{task_uuid}/cancel", {})]
    for path, fields in forms:
        evil.goto(f"http://{host}:{server.server_port}/evil.html")
        with evil.expect_navigation() as landed:
            evil.evaluate(FORM, [service.url, path, fields])
        assert landed.value.status == 403
    after = service.task(task_uuid)
    assert [after[fact] for fact in UNCHANGED] == [before[fact] for fact in UNCHANGED]
    listed = requests.get(f"{service.url}/tasks", auth=AUTH, timeout=20).json()["tasks"]
    assert not [task for task in listed if "attack" in task["audio"]]
    assert page.evaluate("async () => (await (await fetch('session')).json()).user") == AUTH[0], "still signed in"
    assert row(page, name).is_visible()
    complaints[:] = [it for it in complaints if "blocked by CORS policy" not in it]


@pytest.mark.usefixtures("evil")
def test_the_page_cannot_be_put_into_a_frame_of_another_site(visit, service, server, complaints):
    page = visit(refusals=True)
    evil = page.context.new_page()
    evil.goto(f"{server.url}/evil.html")
    evil.evaluate(FRAME, service.url)
    evil.wait_for_timeout(500)
    assert all(frame.url != f"{service.url}/" or not frame.query_selector("#view") for frame in evil.frames)
    assert any("frame-ancestors" in complaint for complaint in complaints)
    complaints.clear()
