//! What people do in browsers.

use super::*;

impl World {
    pub(super) fn link(&self, of: Who, old: bool) -> Option<SentLink> {
        let links = self.links.get(&of)?;
        match old {
            true => links.first().cloned(),
            false => links.last().cloned(),
        }
    }

    pub(super) fn sign(&mut self, by: Who, of: Who, check: Check, old: bool) -> Held {
        let Some(link) = self.link(of, old) else {
            return Ok(());
        };
        let check = self.possible(by, check);
        let now = self.now();
        self.events += 1;
        let user_name = address_of(by);
        let typed = self.person(by).wa_id.clone();
        let typed = typed.as_ref().map(WaId::as_str);
        let visitor = Visitor::new(&user_name, [by as u8; 16]);
        let (answer, text) =
            (self.house()).form(&link.hash, typed, &visitor, self.verdict(by, check));
        self.signed(by, &link, check, &format!("{answer:?}"), text, now)
    }

    /// The model's part in a form that was sent, and what it came to.
    pub(super) fn signed(
        &mut self,
        by: Who,
        link: &SentLink,
        check: Check,
        answer: &str,
        text: Option<String>,
        now: u64,
    ) -> Held {
        let typed = self
            .person(by)
            .wa_id
            .as_ref()
            .map(|n| n.as_str().to_owned());
        let expected = (self.model).signs(
            link.number,
            by,
            &address_of(by),
            typed.as_deref(),
            check,
            now,
        );
        let said = answer.split([' ', '{']).next().unwrap_or_default();
        self.note(format!("  the page says {said}"));
        if said != expected {
            return broken(MODEL, format!("the page said {said}, not {expected}"));
        }
        self.happens(expected);
        self.note_proved();
        let chat = self.model.links[link.number].chat;
        if matches!(said, "Return" | "CodeMailed" | "Finished") {
            self.succeeds(("the hash", link.hash.reveal().to_owned()))?;
        }
        if said == "Finished" {
            self.shown.push(Shown {
                chat,
                secret: link.hash.reveal().to_owned(),
                address: address_of(by),
                by: None,
            });
        }
        match (said, text) {
            ("Return", Some(text)) if reading::return_code(&text).is_some() => {
                self.ready.entry(by).or_default().push(Ready {
                    text,
                    number: link.number,
                    at: now,
                    as_user: by,
                });
                Ok(())
            }
            ("Return", text) => broken(MODEL, format!("no return code in {text:?}")),
            _ => Ok(()),
        }
    }

    /// Nobody can have the right password who is unknown.
    pub(super) fn possible(&self, by: Who, check: Check) -> Check {
        let is_known = self.model.users.iter().any(|u| u.email == address_of(by));
        match check {
            Check::Right if !is_known => Check::Wrong,
            check => check,
        }
    }

    pub(super) fn verdict(&self, by: Who, check: Check) -> Verdict {
        match check {
            Check::Wrong => Verdict::Nobody,
            Check::NoAnswer => Verdict::NoAnswer,
            Check::NotEverybody => Verdict::NotEverybody,
            Check::Right => {
                let email = EmailAddress::parse(&address_of(by)).unwrap();
                let accounts = self.house().world.change(|outside| {
                    let users = outside.services.iter().flat_map(|service| &service.users);
                    users.filter(|user| user.email == email).cloned().collect()
                });
                Verdict::These(accounts)
            }
        }
    }

    /// Two right passwords of one person at the same time, each counted before either is checked.
    pub(super) fn sign_twice(&mut self, by: Who, of: Who) -> Held {
        use portero::domain::sign_in::PageAnswer;
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        let policy = &self.setting.policy;
        let room = (self.model.live_link(link.number, self.now()))
            .is_some_and(|l| l.passwords + 2 <= policy.passwords_per_link);
        if !room
            || policy.ask_number
            || policy.finish == Finish::MailCode
            || self.setting.has_phone
            || self.possible(by, Check::Right) != Check::Right
        {
            return Ok(());
        }
        let now = self.now();
        let visitor = Visitor::new(&address_of(by), [by as u8; 16]);
        let app = Arc::clone(&self.house().app);
        let begun = [0, 1].map(|_| app.begin_try(&link.hash, &visitor, None).unwrap());
        let mut tried = Vec::new();
        for attempt in begun
            .iter()
            .filter(|begun| begun.answer == PageAnswer::Check)
        {
            let verdict = self.verdict(by, Check::Right);
            let finished = app.finish_try(&link.hash, &visitor, attempt.tried_at, verdict);
            tried.push(finished.unwrap());
        }
        self.events += 2;
        let more = tried.len().saturating_sub(1);
        if tried
            .iter()
            .skip(1)
            .any(|tried| tried.answer != PageAnswer::Gone)
        {
            return broken(
                crate::simulation::invariants::SECOND,
                "of two passwords at once, the second came to something",
            );
        }
        let Some(tried) = tried.into_iter().next() else {
            return Ok(());
        };
        let url = tried.chat_url.map(|url| url.reveal().to_owned());
        let text = url.as_deref().and_then(crate::house::ready_text);
        let answer = format!("{:?}", tried.answer);
        self.signed(by, &link, Check::Right, &answer, text, now)?;
        // The second one was counted as well.
        let chat = self.model.links[link.number].chat;
        if let Some(link) = &mut self.model.chat_mut(chat).link {
            link.passwords += u32::try_from(more).unwrap();
        }
        Ok(())
    }

    pub(super) fn look(&mut self, of: Who) -> Held {
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        let before = self.raw();
        let page = self.house().app.page(&link.hash).unwrap();
        let name = ServiceName::parse("page").unwrap();
        let mapping = self.house().app.mapping(&link.hash, &name).unwrap();
        let is_live = self.model.live_link(link.number, self.now()).is_some();
        if page.is_some() != is_live || mapping.is_some() != is_live {
            return broken(MODEL, format!("the page is there: {}", page.is_some()));
        }
        crate::simulation::invariants::nothing_changed(self, &before, "looking at a page")
    }

    pub(super) fn decline(&mut self, of: Who) -> Held {
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        self.events += 1;
        let now = self.now();
        let tried = self.house().app.decline(&link.hash).unwrap();
        let (answer, expected) = (
            format!("{:?}", tried.answer),
            self.model.declines(link.number, now),
        );
        if answer != expected {
            return broken(MODEL, format!("the page said {answer}, not {expected}"));
        }
        Ok(())
    }

    pub(super) fn undo(&mut self, mailbox: Who) -> Held {
        let last = self
            .undoable
            .get(&mailbox)
            .and_then(|all| all.last())
            .cloned();
        let Some(Undoable {
            token,
            chat,
            proved_at,
        }) = last
        else {
            return Ok(());
        };
        self.events += 1;
        let now = self.now();
        let done = self.house().app.undo(&token).unwrap();
        let expected = self.model.undo(chat, proved_at, now);
        if done != expected {
            return broken(MODEL, format!("undoing said {done}, not {expected}"));
        }
        if done {
            self.happens("undone");
            self.succeeds(("the link to undo", token.clone()))?;
        }
        let before = self.raw();
        if self.house().app.undo(&token).unwrap() {
            return broken(
                crate::simulation::invariants::SECOND,
                "a sign-in was undone twice",
            );
        }
        crate::simulation::invariants::nothing_changed(self, &before, "undoing once more")
    }

    pub fn succeeds(&mut self, what: Once) -> Held {
        if self.succeeded.contains(&what) {
            return broken(
                crate::simulation::invariants::SECOND,
                format!("{} succeeded once more", what.0),
            );
        }
        self.succeeded.insert(what);
        Ok(())
    }
}
