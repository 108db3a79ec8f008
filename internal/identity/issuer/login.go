package issuer

import (
	"net/http"
	"net/url"
)

const (
	wrongCredentials = "That name and password, or code, do not fit."
	tooOften         = "Too many attempts. Wait a moment and try again."
)

func (i *Issuer) notPending(w http.ResponseWriter) {
	i.tell(w, http.StatusBadRequest, "Login not found",
		"This login was begun in another browser, is finished, or took too long. Begin again, and open the address that your terminal shows.")
}

func (i *Issuer) loginPage(w http.ResponseWriter, r *http.Request) {
	a, err := i.storage.pending(r.URL.Query().Get("id"), browserOf(r))
	if err != nil {
		i.notPending(w)
		return
	}
	i.people.offerCode()
	i.showLogin(w, http.StatusOK, a, "", "")
}

func (i *Issuer) showLogin(w http.ResponseWriter, status int, a *authRequest, name, problem string) {
	v := view{Title: "Log in", Path: i.base + "/login", ID: a.id, Name: name, Problem: problem}
	i.show(w, status, "login", v, a.RedirectURI)
}

func (i *Issuer) login(w http.ResponseWriter, r *http.Request) {
	a, err := i.storage.pending(r.PostFormValue("id"), browserOf(r))
	if err != nil {
		i.notPending(w)
		return
	}
	user, status, problem := i.authenticate(r, "browser")
	if problem != "" {
		i.people.offerCode()
		i.showLogin(w, status, a, r.PostFormValue("name"), problem)
		return
	}
	if err := i.storage.finish(a, user.Name); err != nil {
		i.notPending(w)
		return
	}
	http.Redirect(w, r, i.base+"/authorize/callback?"+url.Values{"id": {a.id}}.Encode(), http.StatusSeeOther)
}

// authenticate reads the credentials of a form. A problem is what to tell the person.
func (i *Issuer) authenticate(r *http.Request, via string) (User, int, string) {
	name, secret := r.PostFormValue("name"), r.PostFormValue("secret")
	known := "" // people type passwords into the field for names: what is not a name is not told
	if u, ok := i.people.find(name); ok {
		known = u.Name
	}
	if !i.people.allow(name) {
		i.onLogin(known, via, false)
		return User{}, http.StatusTooManyRequests, tooOften
	}
	user, ok := i.people.check(name, secret)
	if ok {
		known = user.Name
	}
	i.onLogin(known, via, ok)
	if !ok {
		return User{}, http.StatusUnauthorized, wrongCredentials
	}
	return user, http.StatusOK, ""
}

func (i *Issuer) devicePage(w http.ResponseWriter, r *http.Request) {
	i.people.offerCode()
	i.showDevice(w, http.StatusOK, r.URL.Query().Get("user_code"), "", "")
}

func (i *Issuer) showDevice(w http.ResponseWriter, status int, userCode, name, problem string) {
	v := view{Title: "Log in on another device", Path: i.base + "/device", UserCode: userCode, Name: name, Problem: problem}
	i.show(w, status, "device", v, "")
}

// device answers for a waiting device. Guesses of its code are as slow as those of passwords.
func (i *Issuer) device(w http.ResponseWriter, r *http.Request) {
	userCode, name := r.PostFormValue("user_code"), r.PostFormValue("name")
	if !i.people.all.AllowN(i.now(), 1) {
		i.showDevice(w, http.StatusTooManyRequests, userCode, name, tooOften)
		return
	}
	if !i.storage.isWaiting(userCode) {
		i.showDevice(w, http.StatusBadRequest, userCode, name, "No device shows that code, or it has expired.")
		return
	}
	if r.PostFormValue("answer") == "deny" {
		i.answerDevice(w, userCode, "", "Denied", "The device will not be logged in. You can close this page.")
		return
	}
	user, status, problem := i.authenticate(r, "device")
	if problem != "" {
		i.people.offerCode()
		i.showDevice(w, status, userCode, name, problem)
		return
	}
	i.answerDevice(w, userCode, user.Name, "Logged in", "The device is logged in as "+user.Name+". You can close this page.")
}

func (i *Issuer) answerDevice(w http.ResponseWriter, userCode, user, title, message string) {
	if err := i.storage.answerDevice(userCode, user); err != nil {
		i.showDevice(w, http.StatusBadRequest, userCode, "", "No device shows that code, or it has expired.")
		return
	}
	i.tell(w, http.StatusOK, title, message)
}
