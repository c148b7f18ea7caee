# What the machines of one environment share: a network, who may reach them, and a role.

locals {
  label = "aiinfra-${var.name}"
  iam   = "${path.module}/../../../iam"
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  tags                 = { Name = local.label }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.label }
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.label }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }
}

resource "aws_subnet" "this" {
  for_each                = { for index, zone in var.zones : zone => index }
  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 4, each.value)
  map_public_ip_on_launch = true
  tags                    = { Name = "${local.label}-${each.key}" }
}

resource "aws_route_table_association" "this" {
  for_each       = aws_subnet.this
  subnet_id      = each.value.id
  route_table_id = aws_route_table.this.id
}

resource "aws_security_group" "this" {
  name        = local.label
  description = "Machines of ${local.label}"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = local.label }

  dynamic "ingress" {
    for_each = { for name, door in var.doors : name => door if length(door.from) > 0 }
    content {
      description = ingress.key
      protocol    = "tcp"
      from_port   = ingress.value.port
      to_port     = ingress.value.port
      cidr_blocks = ingress.value.from
    }
  }

  egress {
    description = "packages, images and data"
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_iam_role" "host" {
  name               = "${local.label}-host"
  assume_role_policy = file("${local.iam}/host-trust.json")
}

resource "aws_iam_role_policy" "host" {
  name   = "host"
  role   = aws_iam_role.host.id
  policy = coalesce(var.host_policy, file("${local.iam}/host.json"))
}

resource "aws_iam_instance_profile" "host" {
  name = aws_iam_role.host.name
  role = aws_iam_role.host.name
}

# By which AWS itself ends machines at their deadline, for `aws_one_shot`.
resource "aws_iam_role" "one_shot" {
  name               = "${local.label}-one-shot"
  assume_role_policy = file("${local.iam}/one-shot-trust.json")
}

resource "aws_iam_role_policy" "one_shot" {
  name   = "end"
  role   = aws_iam_role.one_shot.id
  policy = file("${local.iam}/one-shot-role.json")
}
