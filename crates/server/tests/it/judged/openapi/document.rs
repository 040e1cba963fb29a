//! Stripe's own description of its API, an `OpenAPI` document.

use serde_json::Value;

use crate::judged::programs::Steady;

pub(super) struct Document(Value);

impl Document {
    pub(super) fn read() -> Self {
        let text = std::fs::read(Steady::document()).unwrap();
        Self(serde_json::from_slice(&text).unwrap())
    }

    /// The paths of all lists that are paged by a record's id.
    pub(super) fn lists(&self) -> Vec<&str> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let is_list = |at: &Value| {
            let parameters = at["get"]["parameters"].as_array();
            let mut parameters = parameters.into_iter().flatten();
            parameters.any(|parameter| parameter["name"] == "starting_after")
        };
        paths
            .filter(|(_, at)| is_list(at))
            .map(|(path, _)| path.as_str())
            .collect()
    }

    /// The types of all events.
    pub(super) fn events(&self) -> Vec<&str> {
        let body = &self.0["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"];
        let schema = &body["content"]["application/x-www-form-urlencoded"]["schema"];
        let events = &schema["properties"]["enabled_events"]["items"]["enum"];
        let events = events.as_array().unwrap().iter();
        events
            .map(|kind| kind.as_str().unwrap())
            .filter(|kind| *kind != "*")
            .collect()
    }

    /// Whether a parameter of a path's reads is an object that may have this member.
    pub(super) fn has_part(&self, path: &str, parameter: &str, member: &str) -> bool {
        let parameters = self.0["paths"][path]["get"]["parameters"].as_array();
        let mut parameters = parameters.into_iter().flatten();
        parameters.any(|known| {
            let schema = &known["schema"];
            let choices = schema["anyOf"].as_array().into_iter().flatten();
            let has = |schema: &Value| !schema["properties"][member].is_null();
            known["name"] == parameter && std::iter::once(schema).chain(choices).any(has)
        })
    }

    /// The schema of a kind of object.
    pub(super) fn object(&self, name: &str) -> &Value {
        let schema = &self.0["components"]["schemas"][name];
        assert_eq!(schema["properties"]["object"]["enum"][0], name);
        schema
    }

    /// What a definition calls the type of a member with this schema.
    pub(super) fn kind(&self, schema: &Value) -> &'static str {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.kind(&self.0["components"]["schemas"][name]);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            // An object that may be expanded is its id otherwise.
            let kinds: Vec<&str> = choices.iter().map(|choice| self.kind(choice)).collect();
            return if kinds.contains(&"text") {
                "text"
            } else {
                self.kind(&choices[0])
            };
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("string"), _) => "text",
            (Some("integer"), Some("unix-time")) => "time",
            (Some("integer"), _) => "integer",
            (Some("number"), _) => "number",
            (Some("boolean"), _) => "boolean",
            (Some("array"), _) => "array",
            (Some("object"), _) => "object",
            other => panic!("a schema of type {other:?}: {schema}"),
        }
    }
}
