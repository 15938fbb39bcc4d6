"""Contact with the database is only worth what is unbroken of it."""

from __future__ import annotations

from stepgres_service.engine.contact import Contact


def test_contact_counts_from_the_first_success_after_a_failure() -> None:
    now = 100.0
    contact = Contact(lambda: now, 100)
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


def test_a_process_that_was_asleep_has_had_no_contact() -> None:
    now = 100.0
    contact = Contact(lambda: now, 7)
    contact.succeeded()
    now = 106.0
    contact.succeeded()
    assert contact.unbroken_s() == 6
    now = 160.0  # nothing failed: nothing was asked
    assert contact.unbroken_s() == 0
    contact.succeeded()
    now = 161.0
    assert contact.unbroken_s() == 1
