"""Contact with the database is only worth what is unbroken of it."""

from __future__ import annotations

from stepgres_service.engine.contact import Contact


def test_contact_counts_from_the_first_success_after_a_failure() -> None:
    now = 100.0
    contact = Contact(lambda: now)
    assert contact.unbroken_s() == 0
    contact.succeeded()
    now = 110.0
    contact.succeeded()
    assert contact.unbroken_s() == 10
    contact.failed()
    assert contact.unbroken_s() == 0
    now = 120.0
    contact.succeeded()
    now = 121.0
    assert contact.unbroken_s() == 1
