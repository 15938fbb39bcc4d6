"""A worker with one flow: greet everybody, one task each, then sign the card."""

from __future__ import annotations

from stepgres_worker import Flow, Worker

flow = Flow("hello")


@flow.map  # one task for each element of the run's input, an array of names
def greet(input: dict) -> str:
    return f"Hello, {input['item']}!"


@flow.step(depends_on=[greet])  # runs when all greetings are there
def card(input: dict) -> str:
    return " ".join(input["greet"])


worker = Worker(flow)
