//! The methods of the mesh and their policies, found by path.

use proto::METHODS;
pub use proto::Method;

use crate::Caller;

/// The package that every service of the mesh serves for itself.
pub const FEED: &str = "feed";

/// Whether the policy of a method names the caller's kind.
#[must_use]
pub fn allows(method: &Method, caller: &Caller) -> bool {
    method.callers.contains(&caller.kind)
}

/// The method with this path.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.binary_search_by(|method| method.path.cmp(path)).ok().map(|place| &METHODS[place])
}

/// Every method of the mesh.
pub fn methods() -> impl Iterator<Item = &'static Method> {
    METHODS.iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_that_of_the_contract() {
        let read = method("/jkn.feed.v1.FeedService/ReadEvents").unwrap();
        assert_eq!((read.system, read.writes, read.idempotent), ("feed", false, true));
        assert!(allows(read, &Caller::service("sismonev")));
        assert!(!allows(read, &"bank:bni".parse().unwrap()));
        let write = method("/jkn.claims.v1.ClaimService/SubmitClaim").unwrap();
        assert_eq!(
            (write.system, write.writes, write.service),
            ("claims", true, "jkn.claims.v1.ClaimService")
        );
        assert!(method("/jkn.feed.v1.FeedService/Nothing").is_none());
    }

    #[test]
    fn every_method_is_found_by_its_path() {
        for each in methods() {
            assert!(std::ptr::eq(method(each.path).unwrap(), each), "{}", each.path);
        }
    }
}
