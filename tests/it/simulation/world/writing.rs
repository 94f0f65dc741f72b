//! What people write, and how it arrives.

use super::*;

impl World {
    pub(super) fn written(&mut self, who: Who, text: Text, how: How) -> Wrote {
        let (text, content, digits, returns) = self.words(who, text);
        let mut message = self.house().message(self.person(who), content);
        let now = self.now();
        if let How::Late(ms) = how {
            message.sent_at = Timestamp(now.saturating_sub(ms));
        }
        message.provenance = match how {
            How::Forwarded => Provenance::Forwarded,
            How::InGroup => Provenance::Group,
            How::Direct | How::Late(_) => Provenance::Direct,
        };
        Wrote {
            who,
            heard: Heard {
                names: self.names(who),
                sent_at: message.sent_at.0,
                forwarded: how == How::Forwarded,
                text,
                digits,
                returns,
                tap: (false, false),
            },
            in_group: how == How::InGroup,
            item: WebhookItem::Message(message),
        }
    }

    /// What a text is in letters; and the digits or the return code in it.
    pub(super) fn words(
        &self,
        who: Who,
        text: Text,
    ) -> (Text, Content, Option<String>, Option<usize>) {
        let other_address = || address_of(if who == Who::Ana { Who::Ben } else { Who::Ana });
        let code = |mailed: Option<&MailedCode>| {
            mailed.map_or(NOT_MAILED.to_owned(), |mailed| mailed.code.clone())
        };
        let plain = |words: &str| (text, Content::Text(words.to_owned()), None, None);
        let digits = |code: String| (text, Content::Text(code.clone()), Some(code), None);
        let of_mailbox = |of: Who| self.mailed.iter().filter(move |mailed| mailed.to == of);
        match text {
            Text::Hello => plain("hola"),
            Text::Question => plain("¿a qué hora abren?"),
            Text::Address(of) => plain(&format!("es {}", address_of(of))),
            Text::Typo(of) => plain(&typo_of(&address_of(of))),
            Text::TwoAddresses => plain(&format!("{} o {}", address_of(who), other_address())),
            Text::Code(of) => digits(code(of_mailbox(of).next_back())),
            Text::OldCode(of) => {
                let code = code(of_mailbox(of).next());
                let words = format!("mi código es {}-{}", &code[..4], &code[4..]);
                (text, Content::Text(words), Some(code), None)
            }
            Text::Guess => digits("31415926".to_owned()),
            Text::TwoCodes => plain("31415926 27182818"),
            Text::ShortCode => plain("3141592"),
            Text::Yes => plain("sí"),
            Text::No => plain("no"),
            Text::Resend => plain("reenviar"),
            Text::OtherAddress => plain("otro correo"),
            Text::Cancel => plain("cancelar"),
            Text::LogOut => plain("cerrar sesión"),
            Text::WhoAmI => plain("¿quién soy?"),
            Text::Web => plain("enlace"),
            Text::Password => plain(PASSWORD),
            Text::Picture => (text, Content::Other("image"), None, None),
            Text::Reaction => (text, Content::Other("reaction"), None, None),
            Text::Return(of) | Text::OldReturn(of) => {
                let ready = self.ready.get(&of);
                let ready = ready.and_then(|ready| match text {
                    Text::Return(_) => ready.last(),
                    _ => ready.first(),
                });
                match ready {
                    Some(ready) => {
                        let words = Content::Text(ready.text.clone());
                        (text, words, None, Some(ready.number))
                    }
                    None => (Text::Hello, Content::Text("hola".to_owned()), None, None),
                }
            }
            Text::Tap(button) | Text::OldTap(button) => {
                let shown = self.buttons.get(&who);
                let begins = format!("portero:{button}:");
                let of_kind = |id: &&String| id.starts_with(&begins);
                let id = shown.and_then(|shown| match text {
                    Text::Tap(_) => shown.iter().rfind(of_kind),
                    _ => shown.iter().find(of_kind),
                });
                let id = id.map_or(format!("{begins}none"), Clone::clone);
                (text, Content::Button { id }, None, None)
            }
        }
    }

    /// A message arrives, and is sent again until it is taken, as Meta does.
    pub(super) fn arrives(&mut self, wrote: Wrote) -> Held {
        let Wrote {
            who,
            item,
            mut heard,
            in_group,
        } = wrote;
        let WebhookItem::Message(message) = &item else {
            return Ok(());
        };
        let message = message.clone();
        let now = self.now();
        if self.is_told_to_wait(&item) {
            let received = self.house().receive_all(vec![item.clone()]);
            self.happens("a clock was in doubt");
            self.under_way.push(Wrote {
                who,
                item,
                heard,
                in_group,
            });
            return match received {
                Err(Failed::ClockInDoubt) => Ok(()),
                other => broken(MODEL, format!("by a clock in doubt it came to {other:?}")),
            };
        }
        self.history.push(item.clone());
        self.events += 1;
        let age_ms = now.saturating_sub(message.sent_at.0);
        // Of its time ids were forgotten: it may have come before.
        let is_too_old = message.sent_at < self.house().seen_forgotten_until();
        heard.tap = self.is_current(&message, &heard.names);
        let by_names = [
            self.model.find(&heard.names),
            self.model.by_number(&heard.names),
        ];
        let of_link = heard.returns.map(|number| self.model.links[number].chat);
        let concerned = by_names.into_iter().chain([of_link]).flatten();
        let concerned: Vec<ContactId> = concerned.filter_map(|chat| self.ids[chat]).collect();
        self.concerned = concerned;
        let outcome = self.receive(item)?;
        if is_too_old {
            return match outcome {
                Some(Received::Repeated) | None => Ok(()),
                other => broken(MODEL, format!("a message of {age_ms} ms came to {other:?}")),
            };
        }
        self.note_what_is_shown(who, &heard, in_group, age_ms, now);
        let writer_before = self.model.find(&heard.names);
        let expected = match in_group {
            true => self.model.hears_in_group(&heard, now),
            false => self.model.hears(&heard, now),
        };
        let writer = self.model.find(&heard.names).or(writer_before);
        if let Some(writer) = writer.filter(|_| !in_group) {
            (self.authors).insert(message.id.as_str().to_owned(), writer);
            self.note_guess(expected, &heard, writer, now);
        }
        self.note(format!("  comes to {outcome:?}"));
        self.note_proved();
        self.happens(expected);
        let is_of_a_sign_in = matches!(
            heard.text,
            Text::Address(_) | Text::Typo(_) | Text::TwoAddresses | Text::Code(_) | Text::Guess
        );
        if expected == "handed_on"
            && let Some(writer) = writer.filter(|_| !in_group)
        {
            let users = self.model.acts_as(writer, now);
            self.decided.insert(message.id.as_str().to_owned(), users);
        }
        if is_of_a_sign_in && expected != "handed_on" {
            self.of_sign_ins.insert(message.id.as_str().to_owned());
        }
        match outcome {
            // The answer got lost; what it did is compared all the same.
            None | Some(Received::Repeated) => Ok(()),
            Some(Received::Was(outcome)) if outcome == expected => Ok(()),
            Some(Received::Was(outcome)) => {
                broken(MODEL, format!("it came to {outcome}, not to {expected}"))
            }
        }
    }

    /// What this message shows of secrets, if it may carry one at all.
    pub(super) fn note_what_is_shown(
        &mut self,
        who: Who,
        heard: &Heard,
        in_group: bool,
        age_ms: u64,
        now: u64,
    ) {
        if in_group || heard.forwarded || age_ms > 10 * MINUTE_MS {
            return;
        }
        let Some(chat) = self.model.find(&heard.names) else {
            return;
        };
        if let Some(digits) = &heard.digits {
            let lifetime_ms = self.setting.policy.code_lifetime_ms;
            let shown = (self.mailed.iter())
                .filter(|mailed| mailed.code == *digits && mailed.chat == chat)
                .filter(|mailed| now < mailed.at + lifetime_ms);
            let shown: Vec<Shown> = shown
                .map(|mailed| Shown {
                    chat,
                    secret: mailed.code.clone(),
                    address: address_of(mailed.to),
                    by: Some(who),
                })
                .collect();
            self.shown.extend(shown);
        }
        if let Some(number) = heard.returns {
            let ready = self.ready.values().flatten();
            let lifetime_ms = self.setting.policy.return_code_lifetime_ms;
            let shown: Vec<Shown> = ready
                .filter(|ready| ready.number == number && now < ready.at + lifetime_ms)
                .filter(|_| self.model.links[number].chat == chat)
                .map(|ready| Shown {
                    chat,
                    secret: ready.text.clone(),
                    address: address_of(ready.as_user),
                    by: Some(who),
                })
                .collect();
            self.shown.extend(shown);
        }
    }

    /// Under which names which accounts were proved.
    pub(super) fn note_proved(&mut self) {
        for chat in self.model.chats.iter().flatten() {
            let names: Vec<String> = chat.bsuid.iter().chain(&chat.number).cloned().collect();
            for user in chat.bound.iter().flat_map(|bound| &bound.users) {
                self.proved.insert((names.clone(), user.email.clone()));
            }
        }
    }

    pub(super) fn note_guess(&mut self, expected: &str, heard: &Heard, chat: usize, now: u64) {
        let asked = &self.model.chat(chat).asked;
        // What was forwarded is not compared with anything.
        if expected == "code_wrong"
            && !heard.forwarded
            && let Asked::Code(code) = asked
        {
            self.guesses.push((now, chat, code.address.clone()));
        }
        if expected == "bound" {
            // A proof clears what was counted for its address.
            if let Some(bound) = &self.model.chat(chat).bound
                && bound.proof == Proof::Code
            {
                let emails: Vec<String> = bound.users.iter().map(|u| u.email.clone()).collect();
                for (_, _, address) in &mut self.guesses {
                    if emails.contains(address) {
                        address.clear();
                    }
                }
            }
        }
    }

    /// Whether a button belongs to the question in force, and whether to the last link.
    pub(super) fn is_current(&self, message: &Inbound, names: &Names) -> (bool, bool) {
        let Content::Button { id } = &message.content else {
            return (false, false);
        };
        let tag = id.rsplit(':').next().unwrap_or_default();
        let contact = self.model.find(names).and_then(|chat| self.contact(chat));
        let Some(contact) = contact else {
            return (false, false);
        };
        let of_question = match &contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id.tag() == tag,
            Stage::SpellingAsked { tag: asked, .. } => asked == tag,
            Stage::Idle | Stage::AddressAsked { .. } | Stage::LinkSent => false,
        };
        let of_link = contact.mapping.as_ref().is_some_and(|m| m.id.tag() == tag);
        (of_question, of_link)
    }

    /// Whether it cannot be so old but by a clock that is wrong.
    pub(super) fn is_told_to_wait(&mut self, item: &WebhookItem) -> bool {
        let sent_at = match item {
            WebhookItem::Message(message) => message.sent_at,
            WebhookItem::Status(status) => status.at,
            WebhookItem::IdentityChanged(change) => change.at,
            WebhookItem::Notice(_) | WebhookItem::Ignored(_) => return false,
        };
        self.now() > sent_at.0 + 8 * DAY_MS && !self.is_clock_believed()
    }

    pub(super) fn receive(&mut self, item: WebhookItem) -> Result<Option<Received>, Broken> {
        let mut trouble = self.trouble.take();
        if let Some(disk) = self.disk.clone() {
            return match trouble {
                Some(Trouble::Power(loss)) => self.receive_without_power(&item, &disk, loss),
                Some(Trouble::Fails(_) | Trouble::Unknown | Trouble::Twice) | None => {
                    match self.house().receive_all(vec![item]) {
                        Ok(received) => Ok(came_to(&received)),
                        Err(error) => broken(MODEL, format!("the store failed: {error}")),
                    }
                }
            };
        }
        let memory = Arc::clone(self.house().memory());
        let arm = |trouble| match trouble {
            Some(Trouble::Fails(nth)) => {
                memory.fail_operation(
                    u64::from(nth) + 1,
                    StoreError::Unavailable("on purpose".into()),
                );
            }
            Some(Trouble::Unknown) => memory.answer_unknown_at_commit(1),
            Some(Trouble::Twice) => memory.run_bodies_twice(true),
            Some(Trouble::Power(_)) | None => {}
        };
        let mut is_unknown = false;
        let mut outcome = None;
        for tries in 0..4 {
            let before = self.raw();
            arm(trouble.take());
            let received = self.house().receive_all(vec![item.clone()]);
            memory.fail_operation(1 << 60, StoreError::Full);
            memory.run_bodies_twice(false);
            match received {
                Ok(received) => {
                    outcome = came_to(&received);
                    break;
                }
                Err(Failed::Store(StoreError::Unknown)) => is_unknown = true,
                Err(_) if tries < 3 => {
                    self.happens("the store failed");
                    crate::simulation::invariants::nothing_changed(
                        self,
                        &before,
                        "a webhook that failed",
                    )?;
                }
                Err(error) => return broken(MODEL, format!("the store keeps failing: {error}")),
            }
        }
        match (is_unknown, outcome) {
            (true, Some(Received::Repeated)) => {
                self.happens("a commit was unknown");
                Ok(None)
            }
            (true, other) => broken(
                crate::simulation::invariants::ELEVENTH,
                format!("it was stored, and came to {other:?} when it was repeated"),
            ),
            (false, outcome) => Ok(outcome),
        }
    }
}

/// What a webhook of one item came to; `None` when nothing is said of it.
pub(super) fn came_to(received: &portero::app::Received) -> Option<Received> {
    match received.repeated {
        0 => received.outcomes.first().map(|was| Received::Was(was)),
        _ => Some(Received::Repeated),
    }
}
