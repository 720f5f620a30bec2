//! Pure authorization: RBAC evaluation, upstream's bootstrap policy, the Node authorizer.
