variable "session" {
  description = "What it is for: the value of the tag aiinfra:session."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_.-]{0,62}$", var.session))
    error_message = "A session's name is of small letters, digits, hyphens, dots and underscores, 63 at most."
  }
}

variable "owner" {
  description = "Whose it is: the value of the tag aiinfra:owner, by which `%gpu check` knows what is left over."
  type        = string
}

variable "expires_at" {
  description = "When it ends, whatever it does then: RFC 3339 in UTC, as 2026-01-31T18:00:00Z."
  type        = string

  validation {
    condition     = can(timeadd(var.expires_at, "0s")) && endswith(var.expires_at, "Z")
    error_message = "Write the time as 2026-01-31T18:00:00Z."
  }
}

variable "machines" {
  description = "The output `machines` of the environment that it belongs to."
  type = object({
    name                 = string
    subnets              = map(string)
    security_group       = string
    more_security_groups = optional(list(string), [])
    instance_profile     = string
  })
}

variable "image" {
  description = "AMI with the drivers of its accelerators, and with systemd."
  type        = string
}

variable "spot" {
  description = "Rent it for less, to be taken away again at two minutes' notice."
  type        = bool
  default     = true
}

variable "mig" {
  description = "Slices into which each GPU is cut: profile, e.g. 1g.10gb, and how many."
  type        = object({ profile = string, count = number })
  default     = null

  validation {
    condition     = var.mig == null || can(regex("^[1-7]g\\.[0-9]+gb([+](me|gfx|me\\.all))?$", var.mig.profile))
    error_message = "A profile is called as nvidia-smi calls it, e.g. 1g.10gb."
  }

  validation {
    condition     = try(var.mig.count >= 1 && var.mig.count <= 7, var.mig == null)
    error_message = "A GPU has one to seven slices."
  }
}

variable "root_gib" {
  description = "Size of the encrypted volume."
  type        = number
  default     = 100
}

variable "kms_key" {
  description = "Key of the volume; without one it is the account's own for EBS."
  type        = string
  default     = null
}

variable "ssh_keys" {
  description = "Public keys that may log in."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for key in var.ssh_keys : can(regex("^[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [^'\n]*)?$", key))])
    error_message = "A public key is one line, as ssh-keygen writes it into a .pub file."
  }
}

variable "user" {
  description = "Whom the image lets log in."
  type        = string
  default     = "ubuntu"

  validation {
    condition     = can(regex("^[a-z_][a-z0-9_-]*$", var.user))
    error_message = "That is no name of a user."
  }
}

variable "setup" {
  description = "Lines of shell that run once, after the deadline is armed and the GPU is cut."
  type        = string
  default     = ""
}

variable "instance_type" {
  description = "E.g. g5.xlarge."
  type        = string

  validation {
    condition     = var.mig == null || can(regex("^p[4-6]", var.instance_type))
    error_message = "Only A100 and later are cut into slices: p4d, p4de, p5, p5e, p5en, p6."
  }
}

variable "zone" {
  description = "One of the environment's; spot prices differ between them, four times at worst."
  type        = string
}

variable "most_usd_per_hour" {
  description = "No spot instance above this price. Without it: up to the price on demand."
  type        = number
  default     = null
}
