"""The traps that shorteners of others fell into, and the tests that hold us out of each; this one holds the list true."""

import pytest
from tests.promises import is_there

TRAPS: dict[str, tuple[str, ...]] = {
    "codes are counted up, or two spaces use two alphabets": (
        "unit/links/test_codes.py::test_the_permutation_reaches_every_code_of_its_space_once",
        "unit/links/test_codes.py::test_neighbouring_counters_do_not_look_alike",
    ),
    "an expired link turns into an unknown one, or is remembered beyond its end": (
        "unit/links/test_life.py::test_an_ended_link_says_how_it_ended",
        "unit/links/test_life.py::test_an_answer_is_remembered_for_a_day_or_the_time_left_whichever_is_less",
        "systems/links/test_redirects.py::test_an_expired_link_is_gone_to_the_millisecond",
    ),
    "a reader who was overtaken puts the old address back": (
        "systems/links/test_caches.py::test_a_reader_who_was_overtaken_by_an_edit_cannot_put_the_old_address_back",
        "unit/links/test_near_cache.py::test_a_late_refill_loses_against_a_newer_version",
        "systems/links/test_two_processes.py::test_an_edit_an_end_and_a_return_reach_every_process",
    ),
    "the server reads an address otherwise than a browser does": (
        "unit/links/test_targets.py::test_an_address_is_stored_as_a_browser_reads_it",
        "unit/links/test_targets.py::test_what_must_not_be_linked_to_is_refused_with_the_reason",
        "unit/links/test_targets.py::test_whatever_is_given_becomes_ascii_without_controls_or_a_refusal",
        "unit/links/test_targets.py::test_a_visitors_query_never_breaks_the_header",
    ),
    "an alias takes an address of the platform, or differs only in case": (
        "unit/links/test_codes.py::test_an_alias_that_cannot_be_used_is_refused_with_the_reason",
        "unit/links/test_codes.py::test_aliases_collide_without_case_only_where_the_domain_ignores_it",
        "systems/links/test_api.py::test_own_domains_have_their_own_codes_and_case_rules",
        "unit/web/application/test_application.py::test_an_address_at_the_root_belongs_to_a_system_by_whole_segments",
    ),
    "a thousand ask for one alias, or for one address": (
        "systems/links/test_redirects.py::test_one_alias_is_given_to_one_of_a_thousand",
        "systems/links/test_redirects.py::test_one_address_gets_one_code_however_many_ask",
        "systems/links/test_two_processes.py::test_two_processes_never_give_one_code_or_id_twice",
    ),
    "heads, previews and programs are counted as people, or people as programs": (
        "systems/links/test_redirects.py::test_head_redirects_and_is_not_counted",
        "unit/test_links_visits.py::test_fetches_that_no_person_clicked_are_flagged",
        "unit/test_links_visits.py::test_link_previews_are_known_by_name",
        "unit/test_links_visits.py::test_people_are_not_taken_for_programs",
    ),
    "browsers keep a redirect that is edited later": (
        "unit/links/test_life.py::test_only_a_permanent_redirect_may_be_kept_by_a_browser",
    ),
    "an answer for a client that has gone breaks the connection that all share": (
        "unit/web/test_fast_lane.py::test_an_answer_for_a_client_that_has_gone_goes_nowhere",
    ),
    "the quick path reads a request otherwise than the parser": (
        "unit/web/test_fast_lane.py::test_packets_cut_at_every_byte_give_the_same_bytes",
        "unit/web/test_fast_lane.py::test_any_mix_in_any_packets_gives_the_same_bytes",
        "unit/web/connection/test_connection.py::test_what_could_be_read_in_two_ways_is_refused",
        "unit/web/connection/test_sizes.py::test_a_megabyte_of_headers_is_refused_without_being_kept",
        "unit/web/connection/test_connection.py::test_nothing_after_connection_close_is_run",
        "systems/links/test_redirects.py::test_both_paths_send_the_same_bytes",
    ),
    "an address in another form has no country; anybody's word about an address is believed": (
        "unit/test_links_visits.py::test_an_address_has_a_country",
        "unit/test_links_visits.py::test_forwarded_addresses_are_believed_from_the_right",
        "unit/test_links_click_enrichment.py::test_addresses_do_not_leave_the_enricher",
    ),
    "a scan of unknown codes evicts the known; a creation loses against a remembered absence": (
        "unit/links/test_near_cache.py::test_a_scan_of_unknown_codes_evicts_no_link_and_stays_bounded",
        "unit/links/test_near_cache.py::test_a_creation_beats_a_remembered_absence_however_they_interleave",
        "systems/links/test_two_processes.py::test_a_creation_beats_the_absence_that_the_other_process_remembers",
    ),
    "many who miss at once all ask the database": (
        "systems/links/test_caches.py::test_five_hundred_who_miss_at_once_cost_the_database_one_read",
    ),
    "the clock is set back, a millisecond is full, two hold one worker id": (
        "unit/kernel/test_ids.py::test_a_restart_with_the_clock_set_back_starts_above_the_floor",
        "unit/kernel/test_ids.py::test_the_4097th_id_of_a_millisecond_waits_for_the_next",
        "engines/identity/test_lease.py::test_a_killed_holders_ids_never_come_again_with_the_clock_set_back",
        "engines/identity/test_lease.py::test_a_holder_that_wakes_up_after_its_lease_cannot_make_its_successors_ids",
    ),
    "a click limit is raced; a locked link is remembered as an open one": (
        "systems/links/test_redirects.py::test_a_click_limit_holds_under_a_thousand_parallel_requests",
        "unit/links/test_near_cache.py::test_a_link_that_is_not_the_same_for_everybody_has_no_ready_answer",
        "systems/links/test_caches.py::test_the_lane_reads_plain_values_only",
    ),
    "the server is made to fetch what only it can reach": (
        "systems/links/test_titles.py::test_a_private_address_is_never_connected_to",
        "systems/links/test_titles.py::test_a_redirect_into_a_private_network_is_not_followed",
        "systems/links/test_titles.py::test_a_name_that_changes_its_mind_gains_nothing",
    ),
}
"""Valkey or the database away, and kill -9 of each process, are drills: `python -m drills links`."""


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_a_test_that_is_there(trap: str) -> None:
    for place in TRAPS[trap]:
        assert is_there(place), f"{place} has gone; what holds now against: {trap}?"
