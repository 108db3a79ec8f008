package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

const (
	maxPasswordBytes = 72 // bcrypt looks at no more
	codeLife         = 10 * time.Minute
	codeTries        = 5
	codeAlphabet     = "BCDFGHJKLMNPQRSTVWXZ" // RFC 8628 section 6.1
	codeLetters      = 12
)

// directory knows the people, and checks who they are. Guesses are slow for each name and in all.
type directory struct {
	users    map[string]User
	operator *Operator
	now      func() time.Time
	decoy    []byte // a hash that nothing fits, for names that are not there
	all      *rate.Limiter
	unknown  *rate.Limiter
	byName   map[string]*rate.Limiter

	mu   sync.Mutex
	code oneTimeCode
}

type oneTimeCode struct {
	sum   [sha256.Size]byte
	until time.Time
	tries int
}

func newDirectory(o Options) (*directory, error) {
	d := &directory{
		users: map[string]User{}, operator: o.Operator, now: o.Now, byName: map[string]*rate.Limiter{},
		all: rate.NewLimiter(3, 20), unknown: perName(),
	}
	cost := bcrypt.DefaultCost
	for _, u := range o.Users {
		d.users[u.Name] = u
		d.byName[u.Name] = perName()
		if c, err := bcrypt.Cost([]byte(u.PasswordHash)); err == nil {
			cost = max(cost, c)
		}
	}
	var err error
	d.decoy, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	return d, err
}

func perName() *rate.Limiter { return rate.NewLimiter(rate.Every(6*time.Second), 5) }

// allow reports whether one more attempt may be made under name.
func (d *directory) allow(name string) bool {
	l := d.byName[name]
	if l == nil {
		l = d.unknown
	}
	now := d.now()
	return d.all.AllowN(now, 1) && l.AllowN(now, 1)
}

// check reports whose name and secret these are. Without any users, the name is the operator's.
func (d *directory) check(name, secret string) (User, bool) {
	if d.operator != nil && (name == d.operator.Name || len(d.users) == 0) {
		if !d.useCode(secret) {
			return User{}, false
		}
		return User{Name: d.operator.Name, Groups: d.operator.Groups}, true
	}
	u, known := d.users[name]
	hash := d.decoy
	if known {
		hash = []byte(u.PasswordHash)
	}
	if len(secret) > maxPasswordBytes || bcrypt.CompareHashAndPassword(hash, []byte(secret)) != nil || !known {
		return User{}, false
	}
	return u, true
}

// find returns the person of a token's sub.
func (d *directory) find(name string) (User, bool) {
	if d.operator != nil && name == d.operator.Name {
		return User{Name: name, Groups: d.operator.Groups}, true
	}
	u, ok := d.users[name]
	return u, ok
}

// offerCode shows a fresh code, where there is an operator and no valid code.
func (d *directory) offerCode() {
	if d.operator == nil {
		return
	}
	d.mu.Lock()
	now := d.now()
	if now.Before(d.code.until) {
		d.mu.Unlock()
		return
	}
	code := newCode()
	d.code = oneTimeCode{sum: sha256.Sum256([]byte(plainCode(code))), until: now.Add(codeLife)}
	d.mu.Unlock()
	d.operator.Show(code)
}

// useCode burns the code when it fits, or after codeTries that do not.
func (d *directory) useCode(code string) bool {
	sum := sha256.Sum256([]byte(plainCode(code)))
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.now().Before(d.code.until) {
		return false
	}
	fits := subtle.ConstantTimeCompare(sum[:], d.code.sum[:]) == 1
	if d.code.tries++; fits || d.code.tries >= codeTries {
		d.code = oneTimeCode{}
	}
	return fits
}

// newCode has 51 random bits, in groups of four letters.
func newCode() string {
	var b strings.Builder
	for n := 0; n < codeLetters; {
		var r [1]byte
		rand.Read(r[:])
		if int(r[0]) >= 256/len(codeAlphabet)*len(codeAlphabet) {
			continue // so that each letter is as likely
		}
		if n > 0 && n%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(codeAlphabet[int(r[0])%len(codeAlphabet)])
		n++
	}
	return b.String()
}

// plainCode is a code as typed, without what people add.
func plainCode(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(s))
}
