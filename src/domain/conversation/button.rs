//! The buttons that Portero puts under its questions.

/// A button that Portero made: `portero:ACTION:TAG`. The id comes back as untrusted input; the tag
/// ties it to one question of one contact (Meta's contract, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurButton<'a> {
    /// What a tap asks for.
    pub action: ButtonAction,
    /// Which question it answers.
    pub tag: &'a str,
}

/// What a tap asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonAction {
    /// Send another code.
    Resend,
    /// Let me write another address.
    OtherAddress,
    /// Stop this.
    Cancel,
    /// The suggested spelling.
    Yes,
    /// The spelling as typed.
    No,
    /// End the binding.
    LogOut,
    /// A link to the sign-in page.
    Web,
    /// Another link to the sign-in page.
    NewLink,
    /// Yes, delete what is kept about me.
    ForgetMe,
    /// No, delete nothing.
    KeepMe,
}

impl ButtonAction {
    const NAMES: [(ButtonAction, &'static str); 10] = [
        (ButtonAction::Resend, "resend"),
        (ButtonAction::OtherAddress, "other"),
        (ButtonAction::Cancel, "cancel"),
        (ButtonAction::Yes, "yes"),
        (ButtonAction::No, "no"),
        (ButtonAction::LogOut, "logout"),
        (ButtonAction::Web, "web"),
        (ButtonAction::NewLink, "newlink"),
        (ButtonAction::ForgetMe, "forget"),
        (ButtonAction::KeepMe, "keep"),
    ];
}

impl<'a> OurButton<'a> {
    /// Reads an id; `None` when the button is not ours.
    pub fn parse(id: &'a str) -> Option<OurButton<'a>> {
        let (name, tag) = id.strip_prefix("portero:")?.split_once(':')?;
        let (action, _) = ButtonAction::NAMES
            .into_iter()
            .find(|(_, known)| *known == name)?;
        Some(OurButton { action, tag })
    }

    /// Writes the id.
    pub fn id(&self) -> String {
        let name = ButtonAction::NAMES
            .iter()
            .find(|(action, _)| *action == self.action)
            .map_or("", |(_, name)| name);
        format!("portero:{name}:{}", self.tag)
    }
}
