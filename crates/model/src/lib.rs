//! Objects as trees, errors as `metav1.Status`, quantities, selectors and names: what every layer speaks of.
