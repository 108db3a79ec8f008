package issuer

import (
	"embed"
	"html/template"
	"net/http"
	"net/url"
)

//go:embed page
var pageFiles embed.FS

// view is what the templates show. html/template escapes every name.
type view struct {
	Title, Path, Style string
	ID, UserCode, Name string
	Problem, Message   string
	CodeOnly           bool
}

func parsePages() (*template.Template, error) {
	return template.ParseFS(pageFiles, "page/login.html")
}

func (i *Issuer) style(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, pageFiles, "page/style.css")
}

// show writes a page. redirect, where not empty, is the one address outside to which a form may lead.
func (i *Issuer) show(w http.ResponseWriter, status int, name string, v view, redirect string) {
	v.Style, v.CodeOnly = i.base+"/style.css", len(i.people.users) == 0
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'"+origin(redirect)+
		"; base-uri 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	if err := i.pages.ExecuteTemplate(w, name, v); err != nil {
		i.log.Warn("showing a login page failed", "error", err)
	}
}

func (i *Issuer) tell(w http.ResponseWriter, status int, title, message string) {
	i.show(w, status, "message", view{Title: title, Message: message}, "")
}

// origin is " scheme://host" of a redirect address that was checked. Browsers apply form-action to what a form's answer redirects to.
func origin(redirect string) string {
	u, err := url.Parse(redirect)
	if redirect == "" || err != nil {
		return ""
	}
	return " " + u.Scheme + "://" + u.Host
}
