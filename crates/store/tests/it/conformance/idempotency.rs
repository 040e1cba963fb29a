//! Idempotency keys.

use headrace_model::OrgId;
use headrace_store::{Answer, AnswerKey, Claim};
use uuid::Uuid;

use super::Backend;
use super::world::*;

fn key(key: &str) -> AnswerKey {
    AnswerKey {
        org: ORG,
        endpoint: "POST /streams".to_owned(),
        key: key.to_owned(),
    }
}

pub(crate) async fn a_key_is_answered_once(backend: &impl Backend) {
    let store = backend.open().await;
    let (request, other) = ([1; 32], [2; 32]);
    let claim = async |key: &AnswerKey, request, now, forget| {
        store
            .claim(key, request, at(now), at(forget))
            .await
            .unwrap()
    };
    assert_eq!(claim(&key("k"), request, 10, 0).await, Claim::Yours);
    assert_eq!(claim(&key("k"), request, 11, 0).await, Claim::Running);
    assert_eq!(claim(&key("k"), other, 11, 0).await, Claim::OtherRequest);
    let answer = Answer {
        status: 201,
        body: b"made".to_vec(),
    };
    store.answer(&key("k"), Some(answer.clone())).await.unwrap();
    assert_eq!(
        claim(&key("k"), request, 12, 0).await,
        Claim::Answered(answer.clone())
    );
    assert_eq!(claim(&key("k"), other, 12, 0).await, Claim::OtherRequest);

    let elsewhere = [
        AnswerKey {
            org: OrgId(Uuid::from_u128(9)),
            ..key("k")
        },
        AnswerKey {
            endpoint: "POST /syncs".to_owned(),
            ..key("k")
        },
        key("l"),
    ];
    for key in &elsewhere {
        assert_eq!(claim(key, other, 12, 0).await, Claim::Yours);
    }
    store.answer(&key("l"), None).await.unwrap();
    assert_eq!(
        claim(&key("l"), request, 13, 0).await,
        Claim::Yours,
        "given free"
    );
    assert_eq!(
        claim(&key("k"), request, 20, 10).await,
        Claim::Answered(answer)
    );
    assert_eq!(
        claim(&key("k"), other, 20, 11).await,
        Claim::Yours,
        "forgotten"
    );
}
