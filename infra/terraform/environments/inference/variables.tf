variable "owner" {
  description = "Whose machines these are."
  type        = string
}

variable "region" {
  description = "Where."
  type        = string
  default     = "us-east-1"
}

variable "zones" {
  description = "Availability zones to take machines from."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b", "us-east-1c"]
}

variable "cidr" {
  description = "Addresses of the network."
  type        = string
  default     = "10.65.0.0/16"
}

variable "image" {
  description = "AMI with the drivers."
  type        = string
}

variable "ssh_keys" {
  description = "Public keys that may log in."
  type        = list(string)
  default     = []
}

variable "ssh_from" {
  description = "Addresses that ssh may come from. Without one nobody logs in from outside."
  type        = list(string)
  default     = []
}

variable "serving_port" {
  description = "Where endpoints listen."
  type        = number
  default     = 8000
}

variable "serving_from" {
  description = "Addresses that may ask endpoints."
  type        = list(string)
  default     = []
}

variable "nodes" {
  description = "Single machines, by session."
  type = map(object({
    expires_at    = string
    instance_type = string
    zone          = string
    spot          = optional(bool, false)
    mig           = optional(object({ profile = string, count = number }))
    root_gib      = optional(number, 100)
  }))
  default = {}
}

variable "pools" {
  description = "Machines of one kind, by session."
  type = map(object({
    expires_at     = string
    instance_types = list(string)
    min            = optional(number, 0)
    max            = number
    spot           = optional(bool, false)
    mig            = optional(object({ profile = string, count = number }))
    root_gib       = optional(number, 100)
  }))
  default = {}
}
