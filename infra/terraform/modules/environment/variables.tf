variable "name" {
  description = "Of the environment; what belongs to it is called aiinfra-NAME."
  type        = string
}

variable "cidr" {
  description = "Addresses of its network. Environments that are joined later need different ones."
  type        = string
}

variable "zones" {
  description = "Availability zones; prices and capacity differ between them, so name all that you would take."
  type        = list(string)
}

variable "doors" {
  description = "Ports that may be reached, and from where. Without one nothing comes in."
  type        = map(object({ port = number, from = list(string) }))
  default     = {}

  validation {
    condition     = alltrue([for door in values(var.doors) : !contains(door.from, "0.0.0.0/0")])
    error_message = "A port that the whole internet may reach is none that a GPU machine should have."
  }
}

variable "host_policy" {
  description = "What its machines may do with AWS, as JSON. By default nothing: they know their tags from their metadata."
  type        = string
  default     = null
}
