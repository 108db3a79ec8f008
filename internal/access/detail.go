package access

import "strings"

// Detail is what one protocol tells of an operation: one of *Kubernetes, *Model, *Git, *SQL and *Web.
type Detail interface {
	summary() summary
	// texts are the words that people and rules judge by, beside the command. What approvers see must show them exactly.
	texts() []string
}

type summary struct {
	Namespace, Resource string
	Names               []string
}

// Detail gives the one that is set; nil where nothing could be decoded.
func (o *Operation) Detail() Detail {
	switch {
	case o.Kubernetes != nil:
		return o.Kubernetes
	case o.Model != nil:
		return o.Model
	case o.Git != nil:
		return o.Git
	case o.SQL != nil:
		return o.SQL
	case o.Web != nil:
		return o.Web
	}
	return nil
}

// ActsOn says what the operation acts on, to be found by: a namespace, the kind of thing, and all words of it.
func (o *Operation) ActsOn() (namespace, resource, words string) {
	d := o.Detail()
	if d == nil {
		return "", "", o.Target.Name
	}
	s := d.summary()
	return s.Namespace, s.Resource, strings.Join(append([]string{o.Target.Name}, s.Names...), " ")
}

// Texts are the words that people and rules judge by.
func (o *Operation) Texts() []string {
	out := []string{o.Command, o.Verb, o.Client.UserAgent, o.Client.Invocation, o.Client.InvokedAs, o.Client.Reason}
	if d := o.Detail(); d != nil {
		out = append(out, d.texts()...)
	}
	return out
}

func (k *Kubernetes) summary() summary {
	resource := k.Resource
	if k.Subresource != "" {
		resource += "/" + k.Subresource
	}
	return summary{k.Namespace, resource, []string{k.Group, resource, k.Namespace, k.Name, k.Kind, k.Path, k.ProxyPath}}
}

func (k *Kubernetes) texts() []string {
	out := []string{k.Namespace, k.Name, k.Path, k.ProxyPath, k.FieldManager}
	if k.Exec != nil {
		out = append(append(out, k.Exec.Container), k.Exec.Command...)
	}
	return out
}
