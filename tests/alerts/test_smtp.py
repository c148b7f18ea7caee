"""Mail, against a strict server on loopback."""

import base64
import email.utils
import re

import pytest

from aiinfra_lab import providers
from aiinfra_lab.alerts import Alert, PartlySent
from aiinfra_lab.errors import Denied, Missing, Unavailable, UsageProblem
from aiinfra_lab.testing.alerts import ODD, SinkContract, alert, written_of
from tests.fakes.mail_server import MailServer

USER, PASSWORD = "ml@example.org", "pSECRETp ü"
SECRETS = [
    *(PASSWORD, base64.b64encode(PASSWORD.encode()).decode()),
    base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
]
TEAM = "team@example.org"


def settle(workspace, port, security="none", more=""):
    """Write the settings, and give the sink that they make."""
    lines = ["[alerts]", 'smtp_host = "127.0.0.1"', f"smtp_port = {port}", f'smtp_security = "{security}"', more]
    (workspace / "aiinfra.toml").write_text("\n".join(lines))
    return providers.make("alerts.sink", "smtp")


LOGIN = f'smtp_user = "{USER}"\nsmtp_password = "SMTP_PASSWORD"'


@pytest.fixture
def sink(mail, workspace):
    return settle(workspace, mail.port)


def lines_of(mail):
    """The text part in one line, and the subject: mail clients wrap."""
    body = mail.message.get_body(("plain",)).get_content()
    return f"{mail.message['Subject']}\n{body}"


class TestSmtp(SinkContract):
    @pytest.fixture
    def mail(self):
        refusals = {"nobody@example.org": "550 5.1.1 no such user", "later@example.org": "450 4.2.0 greylisted"}
        with MailServer(users={USER: PASSWORD}, refusals=refusals).running() as server:
            yield server
            assert server.violations == []

    @pytest.fixture
    def sink(self, mail, workspace, monkeypatch):
        monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
        return settle(workspace, mail.port, more=LOGIN)

    @pytest.fixture
    def address(self):
        return f"{TEAM}, ops@example.org"

    @pytest.fixture
    def received(self, mail):
        return lambda: [lines_of(each) for each in mail.mails]

    @pytest.fixture
    def refuses(self):
        return "nobody@example.org"

    @pytest.fixture
    def away(self):
        return "later@example.org"

    @pytest.fixture
    def no_address(self):
        return "team"

    @pytest.fixture
    def secrets(self):
        return SECRETS


def test_a_mail_has_a_text_and_html_and_what_programs_sort_by(sink, mail):
    given = alert()
    sink.send(given, f"{TEAM}; ops@example.org")
    (sent,) = mail.mails
    message = sent.message
    assert (sent.sender, sent.recipients) == (email.utils.parseaddr(message["From"])[1], (TEAM, "ops@example.org"))
    assert message["To"] == f"{TEAM}, ops@example.org"
    assert message["Subject"] == "failed: recipe:nightly@41: the step train failed"
    assert (message["Auto-Submitted"], message["Message-ID"].startswith(f"<{given.id}.")) == ("auto-generated", True)
    assert email.utils.parsedate_to_datetime(message["Date"]).timestamp() >= int(given.at)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    html = message.get_body(("html",)).get_content()
    assert '<a href="https://example.org/runs/41?a=1&amp;b=2">' in html
    assert "<th>cost</th><td>0.12 USD</td>" in html
    assert mail.violations == []


def test_the_same_alert_has_the_same_message_id(sink, mail):
    given = alert()
    sink.send(given, TEAM)
    sink.send(given, "ops@example.org")
    sink.send(alert("another"), TEAM)
    ids = [each.message["Message-ID"] for each in mail.mails]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)


def test_nothing_in_an_alert_becomes_a_header_a_command_or_markup(sink, mail):
    odd = Alert("failed", f"recipe:x\r\nBcc: {ODD}", ODD, ODD, facts={ODD: ODD}, link=f"javascript:{ODD}")
    sink.send(odd, TEAM)
    (sent,) = mail.mails
    assert set(sent.message.keys()) == {
        *("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
    }
    assert sent.recipients == (TEAM,)
    html = sent.message.get_body(("html",)).get_content()
    assert not re.search(r"<b>|<!channel|href", html)
    assert mail.violations == []


@pytest.mark.parametrize(
    "wrong",
    ["", " , ", "team", "a@b@c", "team@example.org\r\nRCPT TO:<x@y>", "<a@b>", '"a b"@c.org', "a@b>", "ü@example.org",
     f"{'x' * 300}@example.org", "-a@", "@b", "a@b."],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_anything_is_sent(sink, mail, wrong):
    with pytest.raises(UsageProblem):
        sink.send(alert(), wrong)
    with pytest.raises(UsageProblem):
        sink.check(wrong)
    assert mail.mails == []


def test_one_who_is_refused_is_named_and_the_others_have_it(sink, mail):
    mail.refusals = {"gone@example.org": "550 5.1.1 no such user", "full@example.org": "452 4.2.2 mailbox full"}
    with pytest.raises(PartlySent, match=r"gone@example\.org \(550 5\.1\.1 no such user\)") as problem:
        sink.send(alert(), f"{TEAM}, gone@example.org, ops@example.org, full@example.org")
    assert problem.value.remaining == "gone@example.org, full@example.org"
    assert [each.recipients for each in mail.mails] == [(TEAM, "ops@example.org")]


def test_a_server_that_quotes_a_login_to_the_refused_is_not_quoted(workspace, monkeypatch):
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    users, quoted = {USER: PASSWORD}, {"gone@example.org": f"550 {SECRETS[2]}", "old@example.org": "550 no"}
    with MailServer(users=users, refusals=quoted).running() as mail:
        with pytest.raises(PartlySent) as problem:
            settle(workspace, mail.port, more=LOGIN).send(alert(), f"{TEAM} gone@example.org old@example.org")
        assert "gone@example.org (550)" in problem.value.what
        assert "old@example.org (550 no)" in problem.value.what


@pytest.mark.parametrize("password", [PASSWORD, "plain"])
@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_with_tls_one_logs_in_encrypted(workspace, monkeypatch, tls, trusted, security, password):
    monkeypatch.setenv("SMTP_PASSWORD", password)
    with MailServer(context=tls, is_ssl=security == "ssl", users={USER: password}).running() as mail:
        settle(workspace, mail.port, security, LOGIN).send(alert(), TEAM)
        (sent,) = mail.mails
        assert (sent.user, sent.is_encrypted, sent.sender, mail.violations) == (USER, True, USER, [])


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_a_server_whose_certificate_is_not_trusted_gets_no_password(workspace, monkeypatch, tls, security):
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with MailServer(context=tls, is_ssl=security == "ssl", users={USER: PASSWORD}).running() as mail:
        with pytest.raises(Denied, match="certificate"):
            settle(workspace, mail.port, security, LOGIN).send(alert(), TEAM)
        assert mail.mails == []


def test_a_server_without_starttls_is_denied_and_the_fix_says_what_else_there_is(workspace, mail):
    with pytest.raises(Denied, match="STARTTLS") as problem:
        settle(workspace, mail.port, "starttls").send(alert(), TEAM)
    assert 'smtp_security = "ssl"' in problem.value.fix


@pytest.mark.parametrize("password", [PASSWORD, "pSECRETp"])
def test_a_wrong_password_is_denied_and_seen_nowhere(workspace, monkeypatch, tls, trusted, password):
    monkeypatch.setenv("SMTP_PASSWORD", password)
    with MailServer(context=tls, users={USER: "another"}).running() as mail:
        sink = settle(workspace, mail.port, "starttls", LOGIN)
        with pytest.raises(Denied, match=r"refuses the login \(535\)") as problem:
            sink.send(alert(), TEAM)
    assert "SMTP_PASSWORD" in problem.value.fix
    assert [secret for secret in ("pSECRETp", *SECRETS) if secret in written_of(problem.value)] == []


def test_a_login_that_passes_later_is_tried_again(workspace, monkeypatch, tls, trusted):
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with MailServer(context=tls, users={USER: "another"}).running() as mail:
        mail.of_login = "454 4.7.0 not now"
        with pytest.raises(Unavailable, match="454"):
            settle(workspace, mail.port, "starttls", LOGIN).send(alert(), TEAM)


def test_a_password_does_not_go_unencrypted_over_a_network(workspace):
    (workspace / "aiinfra.toml").write_text(
        f'[alerts]\nsmtp_host = "mail.example.org"\nsmtp_security = "none"\n{LOGIN}'
    )
    with pytest.raises(UsageProblem, match="unencrypted"):
        providers.make("alerts.sink", "smtp")


def test_a_password_that_stands_in_the_settings_is_refused_and_not_repeated(workspace, mail):
    more = f'smtp_user = "{USER}"\nsmtp_password = "pSECRETp"'
    with pytest.raises(UsageProblem) as problem:
        settle(workspace, mail.port, more=more).send(alert(), TEAM)
    assert "pSECRETp" not in written_of(problem.value)


def test_a_password_whose_variable_is_not_set_is_missing(workspace, mail, monkeypatch):
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)
    with pytest.raises(Missing, match="SMTP_PASSWORD"):
        settle(workspace, mail.port, more=LOGIN).send(alert(), TEAM)


@pytest.mark.parametrize("greeting", ["421 4.3.2 shutting down", "451 later"])
def test_a_server_that_is_busy_is_tried_again(sink, mail, greeting):
    mail.greetings = [greeting]
    sink.send(alert(), TEAM)
    assert len(mail.mails) == 1


def test_a_server_that_says_no_is_not_tried_again(sink, mail):
    mail.greetings = ["554 5.7.1 not you", "220 but now"]
    with pytest.raises(Denied, match="554"):
        sink.send(alert(), TEAM)
    assert mail.greetings == ["220 but now"]


@pytest.mark.parametrize(("answer", "problem"), [("451 4.3.0 disk", None), ("554 5.7.1 spam", Denied)])
def test_a_mail_that_is_not_taken_is_tried_again_when_that_may_help(sink, mail, answer, problem):
    mail.of_data = [answer]
    if problem is None:
        sink.send(alert(), TEAM)
        assert len(mail.mails) == 1
        return
    with pytest.raises(problem, match=answer[:3]):
        sink.send(alert(), TEAM)
    assert mail.mails == []


def test_one_that_is_silent_is_given_up_in_time(workspace, mail, monkeypatch):
    monkeypatch.setenv("AIINFRA_ALERTS_TIMEOUT_S", "0.3")
    mail.greetings = [MailServer.SILENT] * 3
    with pytest.raises(Unavailable, match="in time"):
        settle(workspace, mail.port).send(alert(), TEAM)


def test_one_that_is_not_there_is_unavailable(workspace):
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 did not take the alert: Connection refused"):
        settle(workspace, 1).send(alert(), TEAM)


@pytest.mark.parametrize(
    "line", ['smtp_security = "tls"', 'smtp_host = "mail.example.org:25/x"', 'smtp_from = "ml"', 'smtp_port = "x"']
)
def test_a_setting_that_cannot_be_is_refused_with_a_fix(workspace, line):
    (workspace / "aiinfra.toml").write_text(f"[alerts]\n{line}")
    with pytest.raises(UsageProblem) as problem:
        providers.make("alerts.sink", "smtp").send(alert(), TEAM)
    assert problem.value.fix
