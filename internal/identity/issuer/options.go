package issuer

import (
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	// ClientID is the one client, and the audience of the tokens.
	ClientID = "gatebook-cli"
	// RedirectPath is the path of the loopback address to which a login returns.
	RedirectPath = "/callback"

	minHashCost = 10
)

// Options configure an Issuer.
type Options struct {
	// URL is the issuer's: https, without a trailing slash. Its path is where the handler is mounted.
	URL string
	// KeyFile keeps the signing keys, mode 0600. It is made where it does not exist.
	KeyFile string
	// Users are the people who may log in with a password.
	Users []User
	// Operator, where set, may log in with a code that is shown once.
	Operator *Operator
	// TokenLife is how long an identity token is valid. Default: 1 h.
	TokenLife time.Duration
	// LoginLife is how long a login can be renewed by refresh tokens. Default: 12 h.
	LoginLife time.Duration
	// KeyLife is how long one key signs. Default: 30 days.
	KeyLife time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// OnLogin, where set, is told of each attempt to log in, for the record. name is empty where nobody is called what was typed;
	// via is "browser" or "device".
	OnLogin func(name, via string, ok bool)
	// Log receives errors. Default: discarded.
	Log *slog.Logger
}

// User is one person.
type User struct {
	// Name is the token's sub.
	Name string
	// PasswordHash is a bcrypt hash of cost 10 or more.
	PasswordHash string
	// Groups are the token's groups.
	Groups []string
	// Email, where set, is taken to be verified.
	Email string
}

// Operator is the person at the terminal.
type Operator struct {
	// Name is the token's sub. Default: operator.
	Name   string
	Groups []string
	// Show shows a fresh code when somebody opens a login page and no code is valid. It must not block.
	Show func(code string)
}

func (o Options) withDefaults() Options {
	if o.TokenLife == 0 {
		o.TokenLife = time.Hour
	}
	if o.LoginLife == 0 {
		o.LoginLife = 12 * time.Hour
	}
	if o.KeyLife == 0 {
		o.KeyLife = 30 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OnLogin == nil {
		o.OnLogin = func(string, string, bool) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Operator != nil {
		operator := *o.Operator
		if operator.Name == "" {
			operator.Name = "operator"
		}
		o.Operator = &operator
	}
	return o
}

var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)

func (o Options) validate() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(u.Path, "/") {
		return nil, fmt.Errorf("url %q: want https://host/path without a trailing slash", o.URL)
	}
	if o.KeyFile == "" {
		return nil, fmt.Errorf("key file is missing")
	}
	if len(o.Users) == 0 && o.Operator == nil {
		return nil, fmt.Errorf("neither users nor an operator: nobody could log in")
	}
	if o.Operator != nil && o.Operator.Show == nil {
		return nil, fmt.Errorf("the operator's code has nowhere to be shown")
	}
	seen := map[string]bool{}
	if o.Operator != nil {
		seen[o.Operator.Name] = true
	}
	for _, user := range o.Users {
		if err := user.validate(); err != nil {
			return nil, err
		}
		if seen[user.Name] {
			return nil, fmt.Errorf("user %q is listed twice", user.Name)
		}
		seen[user.Name] = true
	}
	return u, nil
}

func (u User) validate() error {
	if !userName.MatchString(u.Name) {
		return fmt.Errorf("user name %q: use letters, digits and . _ @ + -, at most 128", u.Name)
	}
	cost, err := bcrypt.Cost([]byte(u.PasswordHash))
	if err != nil {
		return fmt.Errorf("user %q: the password hash is not bcrypt's; htpasswd -nBC 12 makes one", u.Name)
	}
	if cost < minHashCost {
		return fmt.Errorf("user %q: the password hash has cost %d, at least %d is wanted", u.Name, cost, minHashCost)
	}
	return nil
}
