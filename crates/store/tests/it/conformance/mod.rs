//! What every backend must do. Each function here is one test; [`conformance!`] runs them all.

pub(crate) mod append;
pub(crate) mod backups;
pub(crate) mod consumers;
pub(crate) mod dead_letters;
pub(crate) mod filters;
pub(crate) mod idempotency;
pub(crate) mod lifecycle;
pub(crate) mod objects;
pub(crate) mod random;
pub(crate) mod read;
pub(crate) mod sweeping;
pub(crate) mod syncing;
pub(crate) mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use headrace_store::{Result, Store};

/// How to make a store of one kind.
pub(crate) trait Backend {
    /// An empty place for a store.
    fn new() -> Self;

    /// Opens the store in that place; again, after it was closed.
    async fn open(&self) -> Arc<dyn Store>;

    /// A file beside that place.
    fn file(&self, name: &str) -> PathBuf;

    /// Restores a backup into that place.
    async fn restore(&self, backup: &Path, replace: bool) -> Result<()>;
}

/// Runs the suite against a [`Backend`].
macro_rules! conformance {
    ($backend:ty) => {
        $crate::conformance::conformance!($backend: objects {
            an_object_reads_back,
            names_are_unique_within_kind_and_organisation,
            a_stale_revision_is_refused,
            writes_are_all_or_none,
            pages_are_in_the_order_of_ids,
        });
        $crate::conformance::conformance!($backend: append {
            newer_wins_and_older_is_in_doubt,
            an_older_version_of_the_providers_own_is_stale,
            a_doubt_is_settled_by_a_recheck,
            a_recheck_with_an_earlier_time_makes_the_version_no_older,
            a_recheck_does_not_undo_what_was_seen_after_it,
            a_tombstone_keeps_what_was_known,
            times_fall_back_to_what_was_known,
            an_event_with_known_content_raises_the_version,
            one_batch_works_in_order,
            an_upstream_id_of_two_syncs_is_two_records,
            a_stale_fence_refuses_its_batch_alone,
            purged_records_leave_no_trace_for_readers,
            commit_times_never_decrease,
            readers_never_see_a_hole,
        });
        $crate::conformance::conformance!($backend: read {
            a_selection_is_lanes_and_deleted,
            pages_go_on_where_the_last_one_ended,
            a_page_stops_at_the_byte_limit,
            a_time_has_a_position,
            counts_are_those_of_the_log,
            a_record_is_found_by_its_id,
            children_are_found_by_their_parent,
            records_are_located_without_their_data,
            a_dropped_log_is_gone_and_can_be_begun_anew,
        });
        $crate::conformance::conformance!($backend: sweeping {
            old_tombstones_leave_once_everybody_has_passed,
            what_is_not_settled_stays,
            a_dead_letter_keeps_its_tombstone,
            purge_entries_wait_for_no_consumer,
            a_sweep_goes_in_steps,
        });
        $crate::conformance::conformance!($backend: syncing {
            a_lease_has_one_owner_and_a_growing_fence,
            cursors_are_kept_by_collection,
        });
        $crate::conformance::conformance!($backend: consumers {
            acked_is_done_and_the_rest_comes_again,
            a_consumer_is_made_once,
            consumers_have_numbers_of_their_own,
            workers_never_share_a_message,
            a_new_version_waits_for_the_worker_that_has_the_old,
            a_version_that_left_the_log_is_not_delivered_again,
            what_left_the_log_is_known_after_reopening,
            max_ack_pending_bounds_what_is_out,
            only_what_matches_is_delivered_and_counted,
            nothing_beyond_upto_is_delivered,
            an_answer_stops_at_the_byte_limit,
            a_reset_begins_anew,
            a_restart_and_its_object_are_both_written_or_neither,
            a_changed_filter_drops_what_no_longer_matches,
            a_window_that_ends_is_told,
            whoever_waits_is_woken,
            looking_changes_nothing,
            an_extended_window_is_durable,
        });
        $crate::conformance::conformance!($backend: filters {
            what_a_new_filter_rejects_is_not_delivered_again,
            what_the_selection_cannot_know_is_delivered_again,
        });
        $crate::conformance::conformance!($backend: dead_letters {
            the_last_delivery_ends_in_the_dead_letters,
            dead_letters_come_in_pages,
            the_oldest_death_is_told,
            a_lowered_limit_holds_from_the_next_end_of_a_delivery,
            a_newer_version_removes_the_dead_letter,
            a_purge_removes_the_dead_letter,
            redriven_records_are_delivered_anew,
            what_the_selection_cannot_know_is_redriven,
            a_redrive_outlives_the_store,
            a_redrive_of_more_than_fits_goes_on_as_it_is_delivered,
            many_dead_letters_are_removed_and_counted,
            a_redrive_under_way_outlives_the_store,
            dead_letters_can_be_dropped,
        });
        $crate::conformance::conformance!($backend: idempotency {
            a_key_is_answered_once,
            keys_that_are_over_are_free_however_many_there_are,
            a_key_whose_work_may_be_done_is_claimed_again_by_the_same_request,
        });
        $crate::conformance::conformance!($backend: backups {
            a_backup_is_everything_that_was_answered,
            a_restored_consumer_goes_on_where_it_was,
            what_was_made_after_the_backup_is_not_mistaken_for_what_comes,
            a_backup_beside_writers_is_one_state,
            a_backup_replaces_no_file,
            a_restore_replaces_what_it_is_told_to,
            what_is_no_whole_backup_is_not_restored,
        });
        $crate::conformance::conformance!($backend: lifecycle {
            a_closed_store_refuses_everything,
            a_store_that_was_just_left_opens_again,
        });

        #[test]
        fn it_does_what_the_contract_says() {
            $crate::conformance::random::it_does_what_the_contract_says::<$backend>();
        }
    };
    ($backend:ty: $module:ident { $($test:ident),* $(,)? }) => {
        mod $module {
            use $crate::conformance::{Backend, $module as tests};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let backend = <$backend>::new();
                tests::$test(&backend).await;
                // What is done by the rules is never taken for damage.
                backend.open().await.look_through().await.unwrap();
            })*
        }
    };
}
pub(crate) use conformance;
