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

fn yours(since: i64) -> Claim {
    Claim::Yours { since: at(since) }
}

pub(crate) async fn a_key_whose_work_may_be_done_is_claimed_again_by_the_same_request(
    backend: &impl Backend,
) {
    let store = backend.open().await;
    let (request, other) = ([1; 32], [2; 32]);
    let first = store.claim(&key("k"), request, at(10), at(0)).await;
    assert_eq!(first.unwrap(), yours(10));
    store.close().await.unwrap();
    let store = backend.open().await;
    let claim = async |request, now| {
        let claimed = store.claim(&key("k"), request, at(now), at(0)).await;
        claimed.unwrap()
    };
    assert_eq!(claim(other, 20).await, Claim::OtherRequest);
    assert_eq!(claim(request, 20).await, yours(10));
    assert_eq!(claim(request, 21).await, yours(10));
    store.answer(&key("k"), None).await.unwrap();
    assert_eq!(claim(other, 30).await, yours(30));
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
    assert_eq!(claim(&key("k"), request, 10, 0).await, yours(10));
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
        assert_eq!(claim(key, other, 12, 0).await, yours(12));
    }
    store.answer(&key("l"), None).await.unwrap();
    assert_eq!(
        claim(&key("l"), request, 13, 0).await,
        yours(13),
        "given free"
    );
    assert_eq!(
        claim(&key("k"), request, 20, 10).await,
        Claim::Answered(answer)
    );
    assert_eq!(
        claim(&key("k"), other, 20, 11).await,
        yours(20),
        "forgotten"
    );
}

pub(crate) async fn keys_that_are_over_are_free_however_many_there_are(backend: &impl Backend) {
    let store = backend.open().await;
    let claim = async |name: u32, request, now, forget| {
        let key = key(&name.to_string());
        let claimed = store.claim(&key, request, at(now), at(forget)).await;
        claimed.unwrap()
    };
    for name in 0..250 {
        assert_eq!(claim(name, [1; 32], 10, 0).await, yours(10));
    }
    assert_eq!(claim(249, [2; 32], 20, 11).await, yours(20));
    for name in 0..249 {
        assert_eq!(claim(name, [2; 32], 21, 11).await, yours(21));
    }
    assert_eq!(claim(249, [1; 32], 22, 11).await, Claim::OtherRequest);
}
