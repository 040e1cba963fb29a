//! The rows of one collection, newest first, as serialised text.
//!
//! Any page is found in O(log n + page), however deep.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::collection::Collection;

/// The place of a row: its `created` second, then the order of insertion.
pub(crate) type Key = (i64, u64);

#[derive(Debug)]
pub(crate) struct Table {
    collection: Collection,
    rows: BTreeMap<Key, Row>,
    places: HashMap<Arc<str>, Place>,
    /// All ids in no particular order, to draw from.
    ids: Vec<Arc<str>>,
    children: HashMap<Box<str>, BTreeSet<Key>>,
}

#[derive(Debug)]
struct Row {
    id: Arc<str>,
    text: Arc<str>,
    /// The values of the collection's filters.
    facets: Box<[Option<Box<str>>]>,
    parent: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: Key,
    index: usize,
}

/// What a page is to hold.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    pub(crate) cursor: Cursor,
    pub(crate) limit: usize,
    /// The first second of `created` wanted, and the first no longer wanted.
    pub(crate) created: (i64, i64),
    /// Children of this row only.
    pub(crate) parent: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    Newest,
    StartingAfter(Key),
    EndingBefore(Key),
}

/// Rows newest first, and whether more lie beyond in the direction read.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Arc<str>>,
    pub(crate) has_more: bool,
}

impl Table {
    pub(crate) fn new(collection: Collection) -> Self {
        Self {
            collection,
            rows: BTreeMap::new(),
            places: HashMap::new(),
            ids: Vec::new(),
            children: HashMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn key(&self, id: &str) -> Option<Key> {
        self.places.get(id).map(|place| place.key)
    }

    pub(crate) fn text(&self, id: &str) -> Option<Arc<str>> {
        self.rows
            .get(&self.key(id)?)
            .map(|row| Arc::clone(&row.text))
    }

    /// The id at `index` of an arbitrary but reproducible order.
    pub(crate) fn id_at(&self, index: usize) -> Option<Arc<str>> {
        self.ids.get(index).cloned()
    }

    /// Ids of the children of `parent`, newest first.
    pub(crate) fn children(&self, parent: &str) -> Vec<Arc<str>> {
        let keys = self.children.get(parent).into_iter().flatten().rev();
        keys.filter_map(|key| self.rows.get(key))
            .map(|row| Arc::clone(&row.id))
            .collect()
    }

    /// Adds a row; `id` must be new.
    pub(crate) fn insert(&mut self, id: &str, key: Key, object: &Value) {
        let id: Arc<str> = id.into();
        let row = self.row(Arc::clone(&id), object);
        if let Some(parent) = &row.parent {
            self.children.entry(parent.clone()).or_default().insert(key);
        }
        self.rows.insert(key, row);
        self.places.insert(
            Arc::clone(&id),
            Place {
                key,
                index: self.ids.len(),
            },
        );
        self.ids.push(id);
    }

    /// Replaces a row, which keeps its place and parent.
    pub(crate) fn replace(&mut self, id: &str, object: &Value) {
        if let Some((key, place)) = self.places.get_key_value(id) {
            let row = self.row(Arc::clone(key), object);
            self.rows.insert(place.key, row);
        }
    }

    pub(crate) fn remove(&mut self, id: &str) {
        let Some(place) = self.places.remove(id) else {
            return;
        };
        self.ids.swap_remove(place.index);
        if let Some(moved) = self
            .ids
            .get(place.index)
            .and_then(|id| self.places.get_mut(id))
        {
            moved.index = place.index;
        }
        let parent = self.rows.remove(&place.key).and_then(|row| row.parent);
        if let Some(siblings) = parent.and_then(|parent| self.children.get_mut(&parent)) {
            siblings.remove(&place.key);
        }
    }

    /// The page in `window` of the rows whose facets satisfy `wanted`.
    pub(crate) fn page(
        &self,
        window: &Window<'_>,
        wanted: impl Fn(&[Option<Box<str>>]) -> bool,
    ) -> Page {
        let (from, until) = window.created;
        let mut low = Bound::Included((from, 0));
        let mut high = Bound::Excluded((until, 0));
        match window.cursor {
            Cursor::Newest => {}
            Cursor::StartingAfter(key) if key < (until, 0) => high = Bound::Excluded(key),
            Cursor::EndingBefore(key) if key >= (from, 0) => low = Bound::Excluded(key),
            Cursor::StartingAfter(_) | Cursor::EndingBefore(_) => {}
        }
        if is_empty(low, high) {
            return Page {
                rows: Vec::new(),
                has_more: false,
            };
        }
        let backwards = matches!(window.cursor, Cursor::EndingBefore(_));
        let wanted = |row: &&Row| wanted(&row.facets);
        match window.parent {
            Some(parent) => {
                let Some(keys) = self.children.get(parent) else {
                    return Page {
                        rows: Vec::new(),
                        has_more: false,
                    };
                };
                let rows = keys.range((low, high)).filter_map(|key| self.rows.get(key));
                gather(rows.filter(wanted), window.limit, backwards)
            }
            None => {
                let rows = self.rows.range((low, high)).map(|(_, row)| row);
                gather(rows.filter(wanted), window.limit, backwards)
            }
        }
    }

    /// All rows, newest first.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.rows.values().rev().map(|row| &*row.text)
    }

    fn row(&self, id: Arc<str>, object: &Value) -> Row {
        let filters = self.collection.filters();
        Row {
            id,
            text: object.to_string().into(),
            facets: filters
                .iter()
                .map(|(_, pointer)| facet(object, pointer))
                .collect(),
            parent: self
                .collection
                .parent()
                .and_then(|pointer| facet(object, pointer)),
        }
    }
}

fn facet(object: &Value, pointer: &str) -> Option<Box<str>> {
    match object.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    }
}

/// `BTreeMap::range` refuses ranges that end before they start.
fn is_empty(low: Bound<Key>, high: Bound<Key>) -> bool {
    match (low, high) {
        (Bound::Included(low), Bound::Excluded(high)) => low >= high,
        (Bound::Excluded(low), Bound::Excluded(high)) => low >= high,
        _ => false,
    }
}

fn gather<'a>(
    oldest_first: impl DoubleEndedIterator<Item = &'a Row>,
    limit: usize,
    backwards: bool,
) -> Page {
    let text = |row: &Row| Arc::clone(&row.text);
    let mut rows: Vec<Arc<str>> = if backwards {
        oldest_first.take(limit + 1).map(text).collect()
    } else {
        oldest_first.rev().take(limit + 1).map(text).collect()
    };
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    if backwards {
        rows.reverse();
    }
    Page { rows, has_more }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Cursor, Page, Table, Window};
    use crate::stripe::Collection;

    fn table() -> Table {
        let mut table = Table::new(Collection::Customer);
        for (number, created) in [(1, 10), (2, 20), (3, 20), (4, 30), (5, 40)] {
            let id = format!("cus_{number}");
            let email = if number % 2 == 0 { "even" } else { "odd" };
            table.insert(&id, (created, number), &json!({"id": id, "email": email}));
        }
        table
    }

    fn page(table: &Table, cursor: Cursor, limit: usize, created: (i64, i64)) -> (Vec<u64>, bool) {
        let window = Window {
            cursor,
            limit,
            created,
            parent: None,
        };
        let Page { rows, has_more } = table.page(&window, |_| true);
        let number = |text: &str| text.chars().find_map(|c| c.to_digit(10)).map(u64::from);
        let numbers = rows
            .iter()
            .filter_map(|text| number(text.rsplit("cus_").next()?))
            .collect();
        (numbers, has_more)
    }

    const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

    #[test]
    fn pages_run_newest_first_both_ways() {
        let table = table();
        let key = |id: &str| table.key(id).unwrap();
        assert_eq!(page(&table, Cursor::Newest, 2, ALWAYS), (vec![5, 4], true));
        let after = Cursor::StartingAfter(key("cus_4"));
        assert_eq!(page(&table, after, 2, ALWAYS), (vec![3, 2], true));
        let after = Cursor::StartingAfter(key("cus_2"));
        assert_eq!(page(&table, after, 2, ALWAYS), (vec![1], false));
        let before = Cursor::EndingBefore(key("cus_1"));
        assert_eq!(page(&table, before, 2, ALWAYS), (vec![3, 2], true));
        let before = Cursor::EndingBefore(key("cus_4"));
        assert_eq!(page(&table, before, 2, ALWAYS), (vec![5], false));
    }

    #[test]
    fn a_page_that_just_holds_the_rest_is_the_last() {
        let table = table();
        assert_eq!(
            page(&table, Cursor::Newest, 5, ALWAYS),
            (vec![5, 4, 3, 2, 1], false)
        );
    }

    #[test]
    fn created_limits_combine_with_cursors() {
        let table = table();
        let key = |id: &str| table.key(id).unwrap();
        assert_eq!(
            page(&table, Cursor::Newest, 9, (20, 40)),
            (vec![4, 3, 2], false)
        );
        let after = Cursor::StartingAfter(key("cus_5"));
        assert_eq!(page(&table, after, 9, (20, 40)), (vec![4, 3, 2], false));
        let after = Cursor::StartingAfter(key("cus_1"));
        assert_eq!(page(&table, after, 9, (20, 40)), (vec![], false));
        assert_eq!(page(&table, Cursor::Newest, 9, (40, 20)), (vec![], false));
    }

    #[test]
    fn removal_keeps_the_other_rows_reachable() {
        let mut table = table();
        table.remove("cus_2");
        assert_eq!(table.len(), 4);
        assert_eq!(table.text("cus_2"), None);
        assert_eq!(
            page(&table, Cursor::Newest, 9, ALWAYS),
            (vec![5, 4, 3, 1], false)
        );
        table.remove("cus_5");
        table.replace("cus_3", &json!({"id": "cus_3", "email": "new"}));
        assert!(table.text("cus_3").unwrap().contains("new"));
    }
}
