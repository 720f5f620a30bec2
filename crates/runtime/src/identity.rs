//! Users and groups of an image: `/etc/passwd` and `/etc/group` read as data, and who a process becomes.

use crate::spec::UserSpec;

/// Who a process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first where the image or Pod gives any.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// (name, gid, members).
fn group(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// A text that is a number of a user or group; larger ones are names, as for upstream's runtime.
fn id(text: &str) -> Option<u32> {
    text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok())
}

/// Looks the identity up; `passwd_text` and `group_text` are the image's files, empty where there is none.
pub fn resolve(spec: &UserSpec, passwd_text: &str, group_text: &str) -> Result<Identity, String> {
    let (user, group_name) = match spec.user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    // A number is that user, whatever an image calls by that name: `runAsUser` must not lead to another one.
    let number = id(user);
    let entry = match number {
        Some(number) => passwd(passwd_text).find(|entry| entry.uid == number),
        None => passwd(passwd_text).find(|entry| entry.name == user),
    };
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(number)) => number,
        (None, None) => {
            return Err(format!("unable to find user {user}: no matching entries in passwd file"));
        }
    };
    let gid = match group_name.filter(|name| !name.is_empty()) {
        None => entry.as_ref().map_or(0, |entry| entry.gid),
        Some(name) => match id(name) {
            Some(number) => number,
            None => group(group_text)
                .find(|(known, ..)| *known == name)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))?,
        },
    };
    let mut groups = vec![gid];
    let mut add = |gid: u32| {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    };
    if !spec.strict
        && let Some(entry) = &entry
    {
        for (_, gid, members) in group(group_text) {
            if members.split(',').any(|member| member == entry.name) {
                add(gid);
            }
        }
    }
    spec.supplemental_groups.iter().copied().for_each(&mut add);
    let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty()).unwrap_or("/").to_owned();
    Ok(Identity { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/srv/app:/bin/false\n\
                          odd:x:notanumber:1::/:/\n+nis\n\
                          1000:x:0:0:::/\n2000:x:0:0:::/\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\nstaff:x:1001:\nvideo:x:44:other,app\n1001:x:0:\n";

    fn check(
        user: &str,
        strict: bool,
        supplemental: &[u32],
        expected: Result<(u32, u32, &[u32], &str), &str>,
    ) {
        let spec = UserSpec { user: user.to_owned(), supplemental_groups: supplemental.to_vec(), strict };
        let expected = expected
            .map(|(uid, gid, groups, home)| Identity {
                uid,
                gid,
                groups: groups.to_vec(),
                home: home.to_owned(),
            })
            .map_err(str::to_owned);
        assert_eq!(resolve(&spec, PASSWD, GROUP), expected, "user {user:?}");
    }

    #[test]
    fn identities() {
        check("", false, &[], Ok((0, 0, &[0, 10], "/root")));
        check("app", false, &[], Ok((1000, 1001, &[1001, 10, 44], "/srv/app")));
        check("1000", false, &[7, 44], Ok((1000, 1001, &[1001, 10, 44, 7], "/srv/app")));
        check("1000", true, &[7], Ok((1000, 1001, &[1001, 7], "/srv/app")));
        check("app:wheel", true, &[], Ok((1000, 10, &[10], "/srv/app")));
        check("4242", false, &[], Ok((4242, 0, &[0], "/")));
        check("4242:4243", false, &[], Ok((4242, 4243, &[4243], "/")));
        check("nobody", false, &[], Err("unable to find user nobody: no matching entries in passwd file"));
        check("app:none", false, &[], Err("unable to find group none: no matching entries in group file"));
        check("odd", false, &[], Err("unable to find user odd: no matching entries in passwd file"));
        // Names that are numbers lead nobody to another user.
        check("2000", false, &[], Ok((2000, 0, &[0], "/")));
        check("2000:1001", false, &[], Ok((2000, 1001, &[1001], "/")));
        check(
            "4294967296",
            false,
            &[],
            Err("unable to find user 4294967296: no matching entries in passwd file"),
        );
        check("-1", false, &[], Err("unable to find user -1: no matching entries in passwd file"));
    }
}
