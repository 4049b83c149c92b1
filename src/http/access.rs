//! Who may use a route: the one table of it is the router's, and [`guard`](super::guard) holds to it.

use crate::accounts::model::Role;

/// Who may use a route. An object that is another's is the operation's to hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anyone.
    Anyone,
    /// Whoever holds a ticket of the queue.
    TicketHolder,
    /// Whoever is signed in.
    SignedIn,
    /// The user whom the path names, and ADMIN.
    OwnerOrAdmin,
    /// OPERATOR and ADMIN.
    Operators,
    /// AUDITOR and ADMIN.
    Auditors,
    /// OPERATOR, AUDITOR and ADMIN.
    OperatorsAndAuditors,
    /// ADMIN.
    Admins,
}

impl Who {
    /// As documents say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::TicketHolder => "ticket",
            Self::SignedIn => "user",
            Self::OwnerOrAdmin => "owner",
            Self::Operators => "operator",
            Self::Auditors => "auditor",
            Self::OperatorsAndAuditors => "operator+auditor",
            Self::Admins => "admin",
        }
    }

    /// Whether a signed-in user may; `is_owner` when the path names him.
    pub fn allows(self, role: Role, is_owner: bool) -> bool {
        match self {
            Self::Anyone | Self::TicketHolder | Self::SignedIn => true,
            Self::OwnerOrAdmin => is_owner || role == Role::Admin,
            Self::Operators => role.operates(),
            Self::Auditors => matches!(role, Role::Auditor | Role::Admin),
            Self::OperatorsAndAuditors => role != Role::User,
            Self::Admins => role == Role::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_may_everything_and_a_user_only_his_own() {
        use Who::*;
        for who in
            [Anyone, TicketHolder, SignedIn, OwnerOrAdmin, Operators, Auditors, OperatorsAndAuditors, Admins]
        {
            assert!(who.allows(Role::Admin, false));
        }
        for who in [OwnerOrAdmin, Operators, Auditors, OperatorsAndAuditors, Admins] {
            assert!(!who.allows(Role::User, false));
        }
        assert!([Role::Operator, Role::Auditor].iter().all(|role| OperatorsAndAuditors.allows(*role, false)));
        assert!(OwnerOrAdmin.allows(Role::User, true));
        assert!(!Operators.allows(Role::Auditor, true) && !Auditors.allows(Role::Operator, true));
    }
}
