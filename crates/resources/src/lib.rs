//! The one resource table: names, schema, defaults, validation, update rules, print columns.
