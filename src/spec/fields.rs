//! The fields of a resource: a small map that costs nothing to copy.
//!
//! Refuses to be a map of any size: a resource has a handful of fields, and they are looked for one
//! after the other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::Value;

/// A field: its name, mostly one of a kind's table, and its value.
type Field = (Cow<'static, str>, Value);

/// The fields of a resource by name, in the order of names. A field that is absent, or null in the
/// file, is not in here. Copies share their content until one of them is changed: what a file
/// declares and what runs are the same fields ten thousand times.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fields(Arc<Vec<Field>>);

/// What all have in common that have none.
static NONE: LazyLock<Arc<Vec<Field>>> = LazyLock::new(Arc::default);

impl Default for Fields {
    fn default() -> Self {
        Fields(Arc::clone(&NONE))
    }
}

impl Fields {
    /// None.
    pub fn new() -> Self {
        Fields::default()
    }

    /// None yet, with room for so many.
    pub fn with_room(fields: usize) -> Self {
        Fields(Arc::new(Vec::with_capacity(fields)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of this field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Whether there is this field.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a field; gives the value that it had.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: Value) -> Option<Value> {
        let (name, fields) = (name.into(), Arc::make_mut(&mut self.0));
        match fields.binary_search_by(|(own, _)| own.cmp(&name)) {
            Ok(at) => Some(std::mem::replace(&mut fields[at].1, value)),
            Err(at) => {
                fields.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(Arc::make_mut(&mut self.0).remove(at).1)
    }

    /// Takes all fields out.
    pub fn clear(&mut self) {
        *self = Fields::new();
    }

    /// Keeps the fields for which this holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        Arc::make_mut(&mut self.0).retain_mut(|(name, value)| keep(name, value));
    }

    /// All fields in the order of names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// All names in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// All values in the order of names.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<BTreeMap<String, Value>> for Fields {
    fn from(map: BTreeMap<String, Value>) -> Self {
        map.into_iter().collect()
    }
}

impl<Name: Into<Cow<'static, str>>, const N: usize> From<[(Name, Value); N]> for Fields {
    fn from(fields: [(Name, Value); N]) -> Self {
        fields.into_iter().collect()
    }
}

impl<Name: Into<Cow<'static, str>>> FromIterator<(Name, Value)> for Fields {
    fn from_iter<I: IntoIterator<Item = (Name, Value)>>(fields: I) -> Self {
        let mut all = Fields::new();
        all.extend(fields);
        all
    }
}

impl<Name: Into<Cow<'static, str>>> Extend<(Name, Value)> for Fields {
    fn extend<I: IntoIterator<Item = (Name, Value)>>(&mut self, fields: I) {
        for (name, value) in fields {
            self.insert(name, value);
        }
    }
}

impl IntoIterator for Fields {
    type Item = Field;
    type IntoIter = std::vec::IntoIter<Field>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a str, &'a Value);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, Field>, fn(&'a Field) -> (&'a str, &'a Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_copy_shares_the_fields_until_it_is_changed() {
        let first = Fields::from([("a".to_owned(), Value::Int(1))]);
        let mut second = first.clone();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        second.insert("b".to_owned(), Value::Int(2));
        assert_eq!((first.len(), second.len()), (1, 2));
    }

    proptest! {
        #[test]
        fn fields_are_the_map_that_the_same_changes_make(
            changes in prop::collection::vec(("[a-e]", prop::option::of(any::<i64>())), 0..20),
        ) {
            let (mut fields, mut map) = (Fields::new(), BTreeMap::new());
            for (name, value) in changes {
                let results = match value.map(Value::Int) {
                    Some(value) => {
                        (fields.insert(name.clone(), value.clone()), map.insert(name, value))
                    }
                    None => (fields.remove(&name), map.remove(&name)),
                };
                prop_assert_eq!(results.0, results.1);
            }
            prop_assert!(fields.iter().eq(map.iter().map(|(name, value)| (name.as_str(), value))));
            prop_assert_eq!(Fields::from(map), fields);
        }
    }
}
