//! Every mistake names its file, line and key.

use proptest::prelude::*;

use super::*;

/// Compiles Stripe's files with one text replaced in one of them; answers the problems as lines.
fn broken(file: &str, from: &str, to: &str) -> Vec<String> {
    let texts = FILES.map(|(name, text)| {
        if name == file {
            assert!(text.contains(from), "{from}");
            (name, text.replacen(from, to, 1))
        } else {
            (name, text.to_owned())
        }
    });
    let files: Vec<(&str, &str)> = texts
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let problems = Definition::compile("stripe", &files).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

fn line_of(file: &str, text: &str) -> usize {
    let (_, whole) = FILES.into_iter().find(|(name, _)| *name == file).unwrap();
    whole.lines().position(|line| line.contains(text)).unwrap() + 1
}

#[test]
fn stripe_compiles() {
    let stripe = stripe();
    let names: Vec<&str> = stripe
        .collections
        .iter()
        .map(|collection| collection.name.as_str())
        .collect();
    assert_eq!(names[0], "customer");
    assert_eq!(names.len(), 93);
    assert_eq!(stripe.collection("stripe:invoice").unwrap().name, "invoice");
    let is_realtime = |name: &str| stripe.collection(name).unwrap().realtime();
    assert!(is_realtime("customer") && is_realtime("subscription_item"));
    assert!(!is_realtime("balance_transaction"));
    assert_eq!(stripe.limits.requests, 25);
    for collection in &stripe.collections {
        let keys = collection.fields.iter().filter(|field| field.primary_key);
        assert_eq!(keys.count(), 1, "{}", collection.name);
    }
}

#[test]
fn shape_mistakes_have_a_place() {
    for (file, from, to, key, message) in [
        (
            "collections.toml",
            "list = \"/products\"",
            "lisst = \"/products\"",
            "product.lisst",
            "unknown field",
        ),
        (
            "collections.toml",
            "list = \"/products\"",
            "list = 5",
            "product.list",
            "invalid type",
        ),
        (
            "collections.toml",
            "list = \"/products\"",
            "",
            "product",
            "it needs `list` or `graphql`, and not both",
        ),
        (
            "collections.toml",
            "\"/products/{id}\"",
            "\"/products/{id\"",
            "product.get",
            "`{` without a `}`",
        ),
        (
            "collections.toml",
            "take = \"updated\"",
            "take = \"a..b\"",
            "product.updated.take",
            "dotted path",
        ),
        (
            "collections.toml",
            "every = \"1h\"",
            "every = \"1 hour\"",
            "balance_transaction.relist.every",
            "span",
        ),
        (
            "collections.toml",
            "[\"product.*\"]",
            "[\"product*\"]",
            "product.events.types",
            "event pattern",
        ),
        (
            "collections.toml",
            "title = \"Products\"",
            "title = \"Products",
            "product.title",
            "string",
        ),
        (
            "provider.toml",
            "per = \"1s\"",
            "per = \"0s\"",
            "limits.per",
            "span",
        ),
        (
            "provider.toml",
            "order = \"newest_first\"",
            "order = \"any\"",
            "page.order",
            "unknown variant",
        ),
        (
            "provider.toml",
            "status = \"429\"",
            "status = \"42\"",
            "errors.throttled.status",
            "status",
        ),
        (
            "provider.toml",
            "reauthorize = [{ status = \"401\" },",
            "reauthorize = [{},",
            "errors.reauthorize",
            "nothing at all",
        ),
        (
            "provider.toml",
            "records = \"data\"",
            "records = \"data.*\"",
            "page.records",
            "no `*`",
        ),
    ] {
        let problems = broken(file, from, to);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let line = if to.is_empty() {
            line_of(file, "[product]")
        } else {
            line_of(file, from)
        };
        let place = format!("{file}:{line}: {key}: ");
        let rest = problems[0].strip_prefix(&place);
        assert!(
            rest.is_some_and(|rest| rest.contains(message)),
            "{place}{message} in {problems:?}"
        );
    }
}

#[test]
fn references_are_checked() {
    for (file, from, to, key, message) in [
        (
            "collections.toml",
            "feed = \"events\", types = [\"price.*\"]",
            "feed = \"evens\", types = []",
            "price.events.feed",
            "no feed evens",
        ),
        (
            "collections.toml",
            "collection = \"subscription\"",
            "collection = \"invoice\"",
            "subscription_item.parent.collection",
            "no collection invoice",
        ),
        (
            "collections.toml",
            "\"/prices/{id}\"",
            "\"/prices/{parent}\"",
            "price.get",
            "no variable {parent}",
        ),
        (
            "collections.toml",
            "list = \"/prices?active=true\"",
            "list = \"prices?active=true\"",
            "price.list",
            "begins with `/`",
        ),
        (
            "collections.toml",
            "relist = { every = \"1h\", window = \"30d\" }",
            "",
            "balance_transaction",
            "nothing tells of its changes",
        ),
        (
            "collections.toml",
            "lines = \"/invoices/{id}/lines\"",
            "lines = \"/invoices/lines\"",
            "invoice.nested.lines",
            "{id} is missing",
        ),
        (
            "provider.toml",
            "\"{account?}\"",
            "\"{account}\"",
            "headers.Stripe-Account",
            "not every credential",
        ),
        (
            "provider.toml",
            "\"{account?}\"",
            "\"{acount?}\"",
            "headers.Stripe-Account",
            "no credential",
        ),
        (
            "provider.toml",
            "bearer = \"secret\"",
            "bearer = \"key\"",
            "credentials.stripe_key.auth",
            "no field key",
        ),
        (
            "provider.toml",
            "base = \"https://api.stripe.com/v1\"",
            "base = \"api.stripe.com\"",
            "base",
            "begins with https://",
        ),
        (
            "provider.toml",
            "Stripe-Version =",
            "\"Stripe: Version\" =",
            "headers.Stripe: Version",
            "not the name of a header",
        ),
        (
            "collections.toml",
            "list = \"/charges\"",
            "list = \"/charges?q=a b\"",
            "charge.list",
            "percent-encoded",
        ),
        (
            "provider.toml",
            "[credentials.stripe_oauth2]",
            "[credentials.stripe_oauth2]\naliases = [\"stripe_key\"]",
            "credentials.stripe_oauth2",
            "used twice",
        ),
        (
            "provider.toml",
            "fields.account = { title",
            "fields.account = { aliases = [\"secret\"], title",
            "credentials.stripe_oauth2.fields.account",
            "used twice",
        ),
        (
            "provider.toml",
            "requests = 25",
            "requests = 0",
            "limits.requests",
            "at least 1",
        ),
    ] {
        let problems = broken(file, from, to);
        let line = if to.is_empty() {
            line_of(file, "[balance_transaction]")
        } else {
            line_of(file, from)
        };
        let place = format!("{file}:{line}: {key}: ");
        let found = problems.iter().any(|problem| {
            problem
                .strip_prefix(&place)
                .is_some_and(|rest| rest.contains(message))
        });
        assert!(found, "{place}{message} in {problems:?}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = broken(
        "collections.toml",
        "get = \"/products/{id}\"",
        "get = \"products\"",
    );
    assert_eq!(problems.len(), 2, "{problems:?}");
    let both = [
        ("provider.toml", "title = 1"),
        ("collections.toml", "[a]\nb = 1"),
    ];
    assert_eq!(Definition::compile("x", &both).unwrap_err().len(), 2);
    let strange = [FILES[0], FILES[1], ("extra.toml", "")];
    assert_eq!(
        Definition::compile("stripe", &strange).unwrap_err()[0].file,
        "extra.toml"
    );
    let problems = Definition::compile("stripe", &FILES[..1]).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "collections.toml:1: the file is missing"
    );
    assert_eq!(Definition::compile("Stripe!", &FILES).unwrap_err().len(), 1);
}

#[test]
fn fields_are_declared_for_known_collections() {
    let fields = "[customer]\ntime = [\"created\"]\ntext = [\"id\", \"name\"]\n";
    let with = |text| Definition::compile("stripe", &[FILES[0], FILES[1], ("fields.toml", text)]);
    let customer = &with(fields).unwrap().collections[0];
    let names: Vec<&str> = customer.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["id", "name", "created"]);
    assert!(customer.fields[0].primary_key && !customer.fields[1].primary_key);
    for (text, problem) in [
        (
            "[custommer]\ntext = [\"id\"]\n",
            "fields.toml:1: custommer: there is no such collection",
        ),
        (
            "[customer]\ntext = [\"id\"]\ntime = [\"id\"]\n",
            "fields.toml:3: customer.time: this field is declared twice",
        ),
    ] {
        assert_eq!(with(text).unwrap_err()[0].to_string(), problem);
    }
    let unknown = with("[customer]\nwords = [\"id\"]\n").unwrap_err();
    assert!(unknown[0].to_string().contains("words"), "{unknown:?}");
}

/// A definition with these as its further files.
fn with_parts(parts: &[(&'static str, &'static str)]) -> Result<Definition, Vec<Problem>> {
    Definition::compile("stripe", &[&FILES[..], parts].concat())
}

const COIN: &str =
    "[\"mint.coin\"]\ntitle = \"Coins\"\nlist = \"/coins\"\nrelist = { every = \"1d\" }\n";

#[test]
fn a_definition_may_have_its_collections_in_parts() {
    let child = "[coin_side]\ntitle = \"Sides\"\nlist = \"/coins/{parent}/sides\"\nrelist = { every = \"1d\" }\n\
                 parent = { collection = \"mint.coin\", id = \"coin\" }\njudged_by = [\"eye\"]\n";
    let fields = "[\"mint.coin\"]\ntext = [\"id\"]\n";
    let parts = [
        ("collections.sides.toml", child),
        ("fields.mint.toml", fields),
        ("collections.mint.toml", COIN),
    ];
    let definition = with_parts(&parts).unwrap();
    let names = definition.collections.iter().map(|c| c.name.as_str());
    let last: Vec<&str> = names.rev().take(2).collect();
    assert_eq!(last, ["coin_side", "mint.coin"]);
    let coin = definition.collection("stripe:mint.coin").unwrap();
    assert_eq!(coin.fields.len(), 1);
    assert!(coin.judged_by.is_empty());
    let side = definition.collection("coin_side").unwrap();
    assert_eq!(side.judged_by, ["eye"]);
}

#[test]
fn mistakes_in_a_part_have_its_name() {
    let problem = |name, text| with_parts(&[(name, text)]).unwrap_err()[0].to_string();
    let twice = COIN.replace("\"mint.coin\"", "customer").leak();
    assert_eq!(
        problem("collections.mint.toml", twice),
        "collections.mint.toml:1: customer: another file has a collection of this name"
    );
    let dotted = COIN.replace("mint.coin", "mint..coin").leak();
    let told = problem("collections.mint.toml", dotted);
    assert!(told.contains("and dots between them"), "{told}");
    for strange in ["collections..toml", "collections.a.b.toml", "feeds.toml"] {
        let told = problem(strange, COIN);
        assert!(told.contains("not a file of a definition"), "{told}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(file in 0..3_usize, at in any::<prop::sample::Index>(), with in "[\\[\\]{}\"=.*a\n é]{0,3}") {
        let (name, text) = FILES[file];
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..(at + 1), with.chars());
        let broken: String = chars.into_iter().collect();
        let mut files = FILES;
        files[file] = (name, &broken);
        if let Err(problems) = Definition::compile("stripe", &files) {
            prop_assert!(!problems.is_empty());
            for problem in problems {
                let (_, text) = files.iter().find(|(name, _)| *name == problem.file).unwrap();
                prop_assert!((1..=text.lines().count() + 1).contains(&problem.line), "{problem}");
            }
        }
    }
}
