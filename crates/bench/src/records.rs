//! Records of about a kilobyte, shaped like a provider's.

use bytes::Bytes;
use headrace_model::Timestamp;
use headrace_model::json;
use headrace_model::record::{Content, Observation, Origin, Version};

/// In which order the ids of records come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ids {
    /// As hashes do.
    Random,
    /// Each greater than all before it.
    Ascending,
}

/// The record with this number, in its `version`-th form.
pub(crate) fn record(ids: Ids, number: usize, version: usize) -> Observation {
    let upstream_id = match ids {
        Ids::Ascending => format!("cus_{number:012}"),
        Ids::Random => format!("cus_{:016x}", scattered(number as u64)),
    };
    let address = r#""address":{"city":"Lyon","country":"FR","line1":"360 Sluice Way","line2":null,"postal_code":"69001","state":null}"#;
    let filler = "x".repeat(500);
    let data = format!(
        r#"{{{address},"balance":0,"created":{},"currency":"eur","default_source":null,"delinquent":false,"description":"{filler}","email":"customer{number}@example.com","id":"{upstream_id}","invoice_prefix":"{number:08X}","livemode":false,"metadata":{{"plan":"gold","version":"{version}"}},"name":"Customer {number}","object":"customer","phone":null,"preferred_locales":["fr"],"shipping":null,"tax_exempt":"none"}}"#,
        1_700_000_000 + number,
    );
    let data = Bytes::from(data);
    Observation {
        upstream_id,
        parent_id: None,
        content: Content::Present {
            hash: json::hash(&data, &[]),
            data,
        },
        version: Version::Seen(Timestamp::from_seconds(1_700_000_000 + version as i64 * 10)),
        origin: Origin::Read,
        created_at: None,
        updated_at: None,
    }
}

/// A number far from those of its neighbours (the finaliser of splitmix64).
fn scattered(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
