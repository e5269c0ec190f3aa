"""The traps that limiters of others fell into, and the tests that hold us out of each; this one holds the list true."""

import pytest
from tests.promises import is_there

TRAPS: dict[str, tuple[str, ...]] = {
    "a key expires before its bucket is full again, and is full when it comes back": (
        "unit/limiter/test_algorithms.py::test_a_bucket_of_a_thousand_a_day_stays_drained_after_an_idle_hour",
        "systems/limiter/test_lua_against_python.py::test_a_key_lives_exactly_until_nothing_of_it_matters",
    ),
    "a caller's clock that is behind gives tokens away": (
        "unit/limiter/test_algorithms.py::test_a_clock_set_back_delays_nobody_longer_than_the_rule_itself",
    ),
    "the script answers yes or no, and the headers have nothing to say": (
        "systems/limiter/test_limiter.py::test_a_decision_carries_all_that_the_headers_need",
    ),
    "Lua cuts fractions off, or writes microseconds with too few digits": (
        "systems/limiter/test_lua_against_python.py::test_script_and_python_agree_at_every_step",
        "unit/limiter/test_algorithms.py::test_the_finest_and_the_coarsest_rates_are_exact_to_the_thousandth_of_a_microsecond",
    ),
    "two full loads pass around the edge of a window": (
        "unit/limiter/test_algorithms.py::test_only_a_fixed_window_lets_two_full_loads_pass_at_its_edge",
    ),
    "a sliding counter is further from the truth than it says": (
        "unit/limiter/test_algorithms.py::test_a_sliding_counter_never_admits_more_than_twice_its_limit_in_any_window",
        "unit/limiter/test_algorithms.py::test_a_sliding_counter_follows_an_exact_log_closely_when_arrivals_are_even",
    ),
    "many at once are admitted one too many, or one too few": (
        "systems/limiter/test_limiter.py::test_two_thousand_checks_over_four_processes_admit_exactly_a_hundred",
        "unit/limiter/test_algorithms.py::test_every_algorithm_admits_what_its_oracle_admits",
        "wire/test_limiter_doors.py::test_all_doors_of_a_running_platform_draw_from_one_rule_and_one_state",
    ),
    "the minute is debited although the day refuses, and the numbers are the wrong rule's": (
        "systems/limiter/test_limiter.py::test_if_the_day_refuses_the_minute_is_not_debited",
        "systems/limiter/test_lua_against_python.py::test_two_rules_are_debited_together_or_not_at_all",
        "systems/limiter/test_limiter.py::test_all_or_nothing_holds_across_modes",
    ),
    "forgotten scripts cost a check, or two": (
        "systems/limiter/test_bad_days.py::test_flushed_scripts_are_sent_again_without_a_double_charge",
    ),
    "a reply is lost, and the retry is charged again": (
        "systems/limiter/test_bad_days.py::test_a_check_whose_reply_is_lost_is_never_sent_again",
    ),
    "a script touches a key that it did not declare, or two slots": (
        "systems/limiter/test_on_a_cluster.py::test_every_call_stays_in_one_slot_and_every_key_ends_by_itself",
        "unit/limiter/test_keys.py::test_no_key_can_choose_another_slot_or_leave_its_tenant",
    ),
    "a full server evicts buckets, and everybody is new": (
        "systems/limiter/test_bad_days.py::test_a_full_valkey_refuses_by_policy_and_never_forgets_who_was_limited",
    ),
    "keys without an end pile up": (
        "systems/limiter/test_on_a_cluster.py::test_every_call_stays_in_one_slot_and_every_key_ends_by_itself",
    ),
    "a hung Valkey is not a refused connection, and its return is a stampede": (
        "systems/limiter/test_bad_days.py::test_each_failure_policy_speaks_while_valkey_is_away",
        "systems/limiter/test_bad_days.py::test_while_valkey_is_stopped_only_probes_are_sent_and_nothing_piles_up",
    ),
    "Envoy waits 20 ms, and a late answer is a failed request": (
        "systems/limiter/test_bad_days.py::test_local_rules_and_valid_leases_do_not_notice",
        "wire/test_limiter_proxies.py::test_the_real_envoy_answers_429_with_the_headers_where_it_should",
    ),
    "IPv6 in single addresses, mapped addresses as others, clients without one": (
        "unit/limiter/test_keys.py::test_ipv6_counts_by_network_and_mapped_addresses_are_ipv4",
    ),
    "X-Forwarded-For is believed from the wrong end, or in its first field only": (
        "unit/limiter/test_keys.py::test_forwarded_for_is_read_from_the_right_past_trusted_proxies",
    ),
    "parts of keys run into each other, or are too large": (
        "unit/limiter/test_keys.py::test_different_keys_stay_different_and_bounded",
        "systems/limiter/test_limiter.py::test_keys_that_look_alike_are_not",
        "systems/limiter/test_bad_input.py::test_a_key_that_looks_like_a_header_is_a_key",
        "unit/limiter/test_resp_frames.py::test_commands_come_out_as_they_went_in_wherever_reads_tear_them",
        "systems/limiter/test_limiter.py::test_absurd_keys_are_refused_with_the_field",
    ),
    "inventing keys fills the memory": (
        "unit/limiter/test_local.py::test_inventing_keys_neither_fills_the_memory_nor_buys_a_limit",
    ),
    "cost 0, cost above the capacity, negative cost, limit 0, no limit": (
        "systems/limiter/test_limiter.py::test_cost_zero_looks_and_too_much_never_fits",
        "systems/limiter/test_limiter.py::test_a_look_at_a_used_up_key_says_no_and_takes_nothing",
        "systems/limiter/test_limiter.py::test_absurd_costs_are_refused_with_the_field",
        "unit/limiter/test_algorithms.py::test_a_refund_gives_back_at_most_what_was_taken",
        "unit/limiter/test_algorithms.py::test_a_limit_of_zero_is_a_ban",
        "unit/limiter/test_algorithms.py::test_more_than_ever_fits_is_refused_without_a_promise",
        "systems/limiter/test_bad_input.py::test_a_limit_that_never_admits_promises_no_wait",
    ),
    "a changed limit gives everybody a new one": (
        "systems/limiter/test_limiter.py::test_a_raised_limit_gives_the_difference_and_a_lowered_one_counts_what_was_used",
        "systems/limiter/test_lua_against_python.py::test_a_changed_rule_starts_with_what_was_used",
    ),
    "waiting as told is not enough; the reset is a moment here and a wait there": (
        "unit/limiter/test_algorithms.py::test_waiting_exactly_as_told_succeeds_and_a_moment_less_does_not",
        "unit/limiter/test_local.py::test_retry_after_is_whole_seconds_and_never_too_short",
        "wire/test_limiter_proxies.py::test_the_ietf_fields_are_structured_fields",
    ),
    "the wall clock is set, summer time comes, months differ": (
        "unit/limiter/test_local.py::test_a_wall_clock_set_back_an_hour_gives_nobody_a_second_limit",
        "systems/limiter/test_lua_against_python.py::test_a_month_is_as_long_as_it_is_and_a_day_of_summer_time_too",
    ),
    "a refused attempt makes the wait longer": (
        "unit/limiter/test_algorithms.py::test_a_refusal_changes_nothing",
        "systems/limiter/test_lua_against_python.py::test_a_penalty_begins_again_with_every_attempt_and_only_when_asked_for",
    ),
    "remembered refusals outlive a reset": (
        "systems/limiter/test_limiter.py::test_another_process_sees_a_reset_within_a_second",
    ),
    "descriptors match at any depth, the first value wins, costs are lost": (
        "wire/test_limiter_grpc.py::test_descriptors_match_at_their_depth_and_the_most_specific_value_wins",
        "wire/test_limiter_grpc.py::test_any_descriptor_over_its_limit_refuses_and_the_others_are_not_debited",
        "wire/test_limiter_grpc.py::test_costs_come_from_the_request_or_the_descriptor",
    ),
    "bad YAML empties the configuration": (
        "systems/limiter/test_http.py::test_bad_yaml_keeps_the_old_configuration_and_says_why",
        "systems/limiter/test_envoy_folder.py::test_a_bad_file_keeps_the_rules_it_had_and_says_why",
    ),
    "HTTP/2 as peers really send it: tables, continuations, padding, split and interleaved frames, small windows": (
        "wire/test_limiter_grpc.py::test_padding_priority_continuation_and_split_data_are_read",
        "wire/test_limiter_grpc.py::test_the_tables_state_is_kept_across_requests_and_streams_may_interleave",
        "wire/test_limiter_grpc.py::test_an_answer_waits_for_windows_of_one_byte",
        "wire/test_limiter_grpc.py::test_after_goaway_calls_under_way_are_answered_and_the_connection_ends",
        "wire/test_limiter_grpc.py::test_a_compressed_message_is_refused_and_a_ping_is_answered",
    ),
    "a dead node's lease is gone for ever, or counted twice": (
        "systems/limiter/test_lease_holders.py::test_a_node_killed_under_load_costs_at_most_its_lease_and_what_it_held_comes_back",
        "systems/limiter/test_limiter.py::test_a_returned_lease_of_an_old_fence_changes_nothing",
    ),
    "two data centres admit twice the limit while they are apart": (
        "systems/limiter/test_bad_days.py::test_two_data_centres_share_by_demand_and_heal_after_a_partition",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_a_test_that_is_there(trap: str) -> None:
    for place in TRAPS[trap]:
        assert is_there(place), f"{place} has gone; what holds now against: {trap}?"
