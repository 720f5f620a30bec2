//! Texts without what differs from one run to the next: a table of expressions and what stands for them.

use regex::Regex;

/// A row: expression, what stands for what it finds.
pub type Mask = (&'static str, &'static str);

/// A table, ready for use.
pub struct Table(Vec<(Regex, &'static str)>);

impl Table {
    /// Makes a table ready.
    ///
    /// # Panics
    /// If a row has no valid expression.
    pub fn new(rows: &[Mask]) -> Self {
        let compile = |(text, with): &Mask| (Regex::new(text).expect("an expression"), *with);
        Self(rows.iter().map(compile).collect())
    }

    /// The text with every row applied, in their order.
    pub fn apply(&self, text: &str) -> String {
        let replaced = |text: String, (expression, with): &(Regex, &str)| {
            expression.replace_all(&text, *with).into_owned()
        };
        self.0.iter().fold(text.to_owned(), replaced)
    }
}
