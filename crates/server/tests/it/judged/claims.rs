//! What the definition says about who judged its collections.

use std::collections::{BTreeMap, BTreeSet};

use headrace_engine::Providers;

use crate::harness::Server;

/// Fails unless the provider's definition names this judge for exactly these collections.
pub(super) fn are_exactly(provider: &str, judge: &str, judged: &[&str]) {
    let judged: BTreeSet<&str> = judged.iter().copied().collect();
    let claims = claims(provider);
    let none = BTreeSet::new();
    let claimed = claims.get(judge).unwrap_or(&none);
    let claimed: BTreeSet<&str> = claimed.iter().map(String::as_str).collect();
    assert_eq!(claimed, judged, "judged_by {judge:?}: left what is claimed");
}

/// The collections by judge.
fn claims(provider: &str) -> BTreeMap<String, BTreeSet<String>> {
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    let mut claims: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for collection in &providers.get(provider).unwrap().definition.collections {
        for judge in &collection.judged_by {
            let name = collection.name.clone();
            claims.entry(judge.clone()).or_default().insert(name);
        }
    }
    claims
}

/// Every other test of this module checks the claims of one judge.
#[test]
fn nobody_is_named_who_does_not_judge() {
    let expected: [(&str, &[&str]); 3] = [
        ("github", &["emulate"]),
        ("linear", &["@linear/sdk", "emulate"]),
        ("stripe", &["emulate", "localstripe", "openapi"]),
    ];
    let providers = Providers::load(None, &BTreeMap::new()).unwrap();
    let names = providers
        .iter()
        .map(|provider| provider.definition.name.clone());
    assert!(names.eq(expected.map(|(name, _)| name)));
    for (provider, judges) in expected {
        let claimed: Vec<String> = claims(provider).into_keys().collect();
        assert_eq!(claimed, judges, "{provider}");
    }
}

#[tokio::test]
async fn the_api_tells_by_whom_a_collection_is_judged() {
    let stripe = Server::start().get("/v1/providers/stripe").await;
    let told = stripe["collections"].as_array().unwrap().iter();
    let mut by_judge: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for collection in told {
        for judge in collection["verified_by"].as_array().unwrap() {
            let judge = judge.as_str().unwrap().to_owned();
            let name = collection["upstream_id"].as_str().unwrap().to_owned();
            by_judge.entry(judge).or_default().insert(name);
        }
    }
    assert_eq!(by_judge, claims("stripe"));
}
