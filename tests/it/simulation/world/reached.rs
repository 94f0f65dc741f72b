//! What reaches people and the bot, and what they can do with it.

use super::*;

impl World {
    /// Whoever holds a name now gets what is sent to it.
    pub(super) fn holder(&self, to: &Recipient) -> Option<Who> {
        let is_holder = |who: &&Who| self.person(**who).is(to);
        EVERYBODY.iter().find(is_holder).copied()
    }

    pub(super) fn observe(&mut self) -> Held {
        let seen = self.seen;
        let left = self
            .house()
            .world
            .change(|outside| outside.left[seen..].to_vec());
        self.seen += left.len();
        for left in left {
            match left {
                Left::Said(said) => self.hears_from_us(&said)?,
                Left::Mailed(mail) => self.gets_mail(&mail)?,
                Left::HandedOn(hand_over) => self.bot_gets(&hand_over)?,
                Left::Told(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn hears_from_us(&mut self, said: &Said) -> Held {
        crate::simulation::invariants::what_is_said(self, said)?;
        let Some(who) = self.holder(&said.to) else {
            return Ok(());
        };
        self.note(format!(
            "  {who:?} is told: {}",
            said.message.body.replace('\n', " ")
        ));
        let ids = said.message.buttons.iter().map(|button| button.id.clone());
        self.buttons.entry(who).or_default().extend(ids);
        if let Some(link) = &said.message.link
            && let LinkTarget::Url(url) = &link.to
        {
            let hash = MappingHash::parse(url.rsplit('=').next().unwrap()).unwrap();
            let page = ServiceName::parse("page").unwrap();
            let Some(mapping) = self.house().app.mapping(&hash, &page).unwrap() else {
                return broken(MODEL, "a dead link was sent");
            };
            let chat = self
                .ids
                .iter()
                .position(|id| *id == Some(mapping.user_uuid));
            let number = chat.and_then(|chat| Some(self.model.chat(chat).link.as_ref()?.number));
            let Some(number) = number else {
                return broken(MODEL, "a link was sent to a chat that has none");
            };
            self.links
                .entry(who)
                .or_default()
                .push(SentLink { hash, number });
        }
        Ok(())
    }

    pub(super) fn gets_mail(&mut self, mail: &Mail) -> Held {
        let now = self.now();
        let to = mail.to.as_str().to_owned();
        let Some(who) = EVERYBODY.into_iter().find(|who| address_of(*who) == to) else {
            return broken(MODEL, format!("a mail to {to}, which is nobody's"));
        };
        crate::simulation::invariants::what_is_mailed(self, mail)?;
        self.note(format!("  {who:?} gets a mail: {}", mail.subject));
        let code = code_of(mail);
        if code.len() == 8 && code.bytes().all(|b| b.is_ascii_digit()) {
            return self.gets_code(who, &code, mail, now);
        }
        if let Some((_, rest)) = mail.text.split_once("/undo/?token=") {
            let token = rest.split_whitespace().next().unwrap().to_owned();
            let id = ContactId::parse(&token[..32]).unwrap();
            let chat = self.ids.iter().position(|known| *known == Some(id));
            let Some(chat) = chat else {
                return broken(MODEL, "a mail about the sign-in of nobody");
            };
            let Some(bound) = self.model.chat(chat).bound.clone() else {
                return broken(MODEL, "a mail about a sign-in that has ended");
            };
            self.undoable.entry(who).or_default().push(Undoable {
                token,
                chat,
                proved_at: bound.at,
            });
        }
        Ok(())
    }

    /// A code came: it belongs to a chat that waits for one to this mailbox, and names it.
    pub(super) fn gets_code(&mut self, who: Who, code: &str, mail: &Mail, now: u64) -> Held {
        let address = address_of(who);
        let chats = self.model.chats.iter_mut().enumerate();
        let mut waiting: Vec<usize> = Vec::new();
        for (at, chat) in chats {
            let Some(chat) = chat else { continue };
            let is_named = match &chat.number {
                Some(number) => mail
                    .text
                    .contains(&format!("termina en {}", &number[number.len() - 2..])),
                None => !mail.text.contains("termina en"),
            };
            if let Asked::Code(asked) = &mut chat.asked
                && is_named
                && asked.address == address
                && asked.mailed.as_deref().is_none_or(|mailed| mailed == code)
            {
                waiting.push(at);
            }
        }
        let [at] = waiting[..] else {
            return broken(
                MODEL,
                format!(
                    "{} chats wait for the code mailed to {who:?}",
                    waiting.len()
                ),
            );
        };
        if let Asked::Code(asked) = &mut self.model.chat_mut(at).asked {
            asked.mailed = Some(code.to_owned());
        }
        self.mailed.push(MailedCode {
            code: code.to_owned(),
            to: who,
            chat: at,
            at: now,
        });
        Ok(())
    }

    pub(super) fn bot_gets(&mut self, hand_over: &HandOver) -> Held {
        let now = self.now();
        crate::simulation::invariants::what_the_bot_gets(self, hand_over)?;
        if let Some(identity) = &hand_over.identity {
            self.identities.push((identity.clone(), now));
            self.happens("the bot got a message");
        }
        Ok(())
    }

    /// The users whose tokens are given for this contact now.
    pub fn tokens(&self, contact: ContactId, users: &Users) -> Result<Vec<User>, Broken> {
        let issue = |wanted: &TokenWanted<'_>, _: Timestamp, _: &str| {
            Ok(Issued {
                token: Secret::new(format!("{} {}", wanted.user_id, wanted.company_id)),
                token_type: "Bearer".into(),
                expires_in_seconds: 3_600,
            })
        };
        let mut given = Vec::new();
        for service in ["kutamma", "woku"] {
            let asked = TokenAsked {
                contact,
                users: users.clone(),
                service: ServiceName::parse(service).unwrap(),
                account: None,
                company: None,
                scope: None,
                first_hours_only: false,
            };
            let answer = self.house().app.token(&asked, &issue).unwrap();
            match answer {
                TokenAnswer::Token { token, account, .. } => {
                    let user = self.model.users.iter().find(|user| {
                        user.service == service
                            && token.reveal() == format!("{} {}", user.id, user.company)
                            && account.id == user.id
                    });
                    match user {
                        Some(user) => given.push(user.clone()),
                        None => {
                            return broken(
                                crate::simulation::invariants::SIXTH,
                                "a token of nobody",
                            );
                        }
                    }
                }
                TokenAnswer::Need { .. } | TokenAnswer::NoSuchContact => {}
                other => return broken(MODEL, format!("asked for a token: {other:?}")),
            }
        }
        Ok(given)
    }

    pub(super) fn token_for_identity(&mut self, number: u8) -> Held {
        if self.identities.is_empty() {
            return Ok(());
        }
        let at = self.identities.len() - 1 - usize::from(number) % self.identities.len();
        let (identity, since) = self.identities[at].clone();
        let now = self.now();
        let Ok(identity) = self.house().app.identity(identity.reveal()) else {
            // One from the future is not, until its moment comes.
            return match now >= since && now < since + 4 * MINUTE_MS {
                true => broken(MODEL, "a fresh identity is not believed"),
                false => Ok(()),
            };
        };
        if now > since + 5 * MINUTE_MS + 2_000 {
            return broken(
                crate::simulation::invariants::SIXTH,
                "an identity holds for too long",
            );
        }
        let chat = self.ids.iter().position(|id| *id == Some(identity.contact));
        let given = self.tokens(identity.contact, &identity.users)?;
        if !given.is_empty() {
            self.happens("a token for an identity");
        }
        let allowed = chat.map_or(Vec::new(), |chat| self.model.acts_as(chat, now));
        crate::simulation::invariants::tokens_are_of(&given, &allowed, !identity.users.is_anybody())
    }
}

/// The message that an identity came with.
pub fn message_of(world: &World, identity: &Secret) -> Option<MessageId> {
    let identity = world.house().app.identity(identity.reveal()).ok()?;
    Some(identity.message)
}
